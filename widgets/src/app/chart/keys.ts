/** The chart by keyboard: along the front by the horizontal axis, and through all points at one place. */

import type { KeyboardEvent } from 'react';
import type { IRow } from '../rows';
import type { Bench } from '../store';
import type { useScene } from '../tradeoff/scene';
import { spoken } from '../tradeoff/words';
import type { IDrawing, IPoint } from './points';

/** Points this close on the horizontal axis, as a share of it, are at one place. */
const SAME = 0.03;

interface IWalk {
  bench: Bench;
  scene: ReturnType<typeof useScene>;
  drawing: IDrawing;
  /** The walk has come to a candidate. */
  walked(key: string): void;
}

export function onChartKeys(event: KeyboardEvent<HTMLElement>, walk: IWalk): void {
  if (event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  const { bench, scene, drawing } = walk;
  const { hovered, frontOnly } = bench.store.getState().view;
  const here = drawing.byKey.get(hovered) ?? drawing.byKey.get(scene.a);
  switch (event.key) {
    case 'ArrowLeft':
    case 'ArrowRight':
      go(walk, alongFront(drawing, here, event.key === 'ArrowRight'));
      break;
    case 'ArrowUp':
    case 'ArrowDown':
      go(walk, atPlace(drawing, here, event.key === 'ArrowUp'));
      break;
    case 'a':
    case 'A':
    case 'b':
    case 'B':
      if (here) {
        mark(bench, scene.select, event.key.toLowerCase() as 'a' | 'b', here.row);
      }
      break;
    case 'f':
    case 'F':
      bench.look({ frontOnly: !frontOnly });
      bench.say(frontOnly ? 'All points' : 'Best trade-offs only');
      break;
    case '0':
      bench.look({ zoom: 'usual' });
      bench.say('Fits all usual points');
      break;
    case 'Enter':
      if (here) {
        openAsA(scene.select, here.row, event.currentTarget);
      }
      break;
    default:
      return;
  }
  event.preventDefault();
  event.stopPropagation();
}

function go({ bench, scene, walked }: IWalk, point: IPoint | null): void {
  if (point) {
    walked(point.row.key);
    bench.say(spoken(point.row, scene.x, scene.y, scene.judged.get(point.row.key)));
  }
}

export function alongFront(drawing: IDrawing, here: IPoint | undefined, right: boolean): IPoint | null {
  const front = drawing.points.filter(point => point.strong).sort(byPlace);
  if (front.length === 0) {
    return null;
  }
  const at = here ? front.indexOf(here) : -1;
  if (at >= 0) {
    return front[at + (right ? 1 : -1)] ?? here ?? null;
  }
  if (!here) {
    return front[0] ?? null;
  }
  return right
    ? (front.find(point => point.x >= here.x) ?? front.at(-1) ?? null)
    : (front.filter(point => point.x <= here.x).at(-1) ?? front[0] ?? null);
}

export function atPlace(drawing: IDrawing, here: IPoint | undefined, up: boolean): IPoint | null {
  if (!here) {
    return alongFront(drawing, here, true);
  }
  const near = SAME * (drawing.x.high - drawing.x.low);
  const column = drawing.points
    .filter(point => Math.abs(point.x - here.x) <= near)
    .sort((one, other) => one.y - other.y);
  return column[column.indexOf(here) + (up ? 1 : -1)] ?? here;
}

function byPlace(one: IPoint, other: IPoint): number {
  return one.x - other.x || one.y - other.y;
}

type Select = ReturnType<typeof useScene>['select'];

/** Make a candidate A or B, and say so. */
export function mark(bench: Bench, select: Select, which: 'a' | 'b', row: IRow): void {
  select(which, row.key);
  bench.say(`${which.toUpperCase()}: ${row.name} on ${row.where}`);
}

/** Make a candidate A and move on to it. */
export function openAsA(select: Select, row: IRow, near: Element): void {
  select('a', row.key);
  const region = near.closest('.dk-Workbench')?.querySelector<HTMLElement>('[aria-label="Candidate"]');
  if (region) {
    region.tabIndex = -1;
    region.focus();
  }
}
