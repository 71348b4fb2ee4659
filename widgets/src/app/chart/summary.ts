/** The chart in a sentence, for screen readers. */

import { extent, plural } from '../format';
import { valueIn } from '../tradeoff/measures';
import type { useScene } from '../tradeoff/scene';
import { spoken } from '../tradeoff/words';
import type { IDrawing } from './points';
import { sweetKey, sweetWords } from './sweetspot';

export function summary(drawing: IDrawing, scene: ReturnType<typeof useScene>): string {
  const { points, off } = drawing;
  if (points.length === 0) {
    return 'Trade-off chart, no candidate measured yet.';
  }
  const ranges = [scene.x, scene.y].map(measure => {
    const [low, high] = extent(points.map(({ row }) => valueIn(row, measure)?.[0] ?? 0));
    return `${measure.label} from ${said(low)} to ${said(high)} ${measure.unit}`;
  });
  const front = points.filter(({ row }) => scene.judged.get(row.key)?.state === 'front').length;
  const tied = points.filter(point => point.strong).length - front;
  const outside = off.length > 0 ? ` ${off.length} off scale.` : '';
  const best = scene.tradeoff.best && scene.rows.get(scene.tradeoff.best.key);
  const named = sweetKey(scene.tradeoff) ? `Sweet spot, ${sweetWords(scene.tradeoff)}` : 'Closest so far';
  const chosen = best ? ` ${named}: ${spoken(best, scene.x, scene.y, scene.judged.get(best.key))}.` : '';
  const held = `${front} on the front${tied > 0 ? `, ${tied} tied with it` : ''}`;
  return `Trade-off chart of ${plural(points.length, 'candidate')}: ${ranges.join(', ')}; ${held}.${outside}${chosen}`;
}

function said(value: number): string {
  return String(Number(value.toPrecision(3))).replace('-', 'minus ');
}
