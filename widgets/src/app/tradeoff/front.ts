/** Who is on the front of two measures, who is tied with it, and the band between what is sure and what is possible. */

import type { Interval } from '../protocol';
import type { IRow } from '../rows';
import { costOf, type IMeasure, isPlotted } from './measures';

export interface IJudged {
  state: IRow['state'];
  why: string;
}

/** Whether it is on the front or tied with it: drawn filled, and before what is beaten. */
export function isStrong(judged: IJudged | undefined): boolean {
  return judged?.state === 'front' || judged?.state === 'tied';
}

interface IRival {
  row: IRow;
  x: Interval;
  y: Interval;
}

/**
 * State of each candidate on two axes: beaten when another one on its device is confirmed to be better on one and by estimate no
 * worse on the other. On the axes of change and latency the kernel has said it.
 */
export function judge(rows: Iterable<IRow>, x: IMeasure, y: IMeasure): Map<string, IJudged> {
  const found = new Map<string, IJudged>();
  const byDevice = new Map<string, IRival[]>();
  for (const row of rows) {
    if (x.name === 'latency' && y.name === 'change') {
      found.set(row.key, row);
      continue;
    }
    const [costX, costY] = [costOf(row, x), costOf(row, y)];
    if (!isPlotted(row) || costX === null || costY === null) {
      found.set(row.key, { state: '', why: row.stopped });
    } else if (row.status !== 'measured') {
      found.set(row.key, { state: 'screened', why: row.stopped || 'Still measuring.' });
    } else if (!row.compared) {
      found.set(row.key, { state: 'beaten', why: row.why });
    } else {
      const rivals = byDevice.get(row.device) ?? [];
      rivals.push({ row, x: costX, y: costY });
      byDevice.set(row.device, rivals);
    }
  }
  for (const rivals of byDevice.values()) {
    judgeRivals(found, rivals, x, y);
  }
  return found;
}

function judgeRivals(found: Map<string, IJudged>, rivals: readonly IRival[], x: IMeasure, y: IMeasure): void {
  const acrossX = new Best(rivals.map(({ row, x: [, , high], y: [value] }) => ({ end: high, value, row })));
  const acrossY = new Best(rivals.map(({ row, y: [, , high], x: [value] }) => ({ end: high, value, row })));
  const estimated = byEstimate(rivals);
  for (const { row, x: costX, y: costY } of rivals) {
    const surelyX = acrossX.below(costX[1], costY[0]);
    const rival = surelyX ?? acrossY.below(costY[1], costX[0]);
    if (rival) {
      const on = surelyX ? x : y;
      const why = `Beaten: ${rival.name} on ${rival.where} is better on ${on.label} (95 % confidence) and no worse on the other axis.`;
      found.set(row.key, { state: 'beaten', why });
    } else if (estimated.has(row.key)) {
      found.set(row.key, { state: 'front', why: 'On the front: no other candidate is better on both axes.' });
    } else {
      found.set(row.key, {
        state: 'tied',
        why: 'Tied with the front: its intervals overlap the front.'
      });
    }
  }
}

/** Of all rows confirmed to lie below a limit on one axis, the best by estimate on the other. */
class Best {
  constructor(items: { end: number; value: number; row: IRow }[]) {
    items.sort((one, other) => one.end - other.end);
    for (const item of items) {
      const last = this.best.at(-1);
      this.ends.push(item.end);
      this.best.push(last && last.value <= item.value ? last : item);
    }
  }

  below(end: number, value: number): IRow | null {
    let [low, high] = [0, this.ends.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.ends[middle] as number) < end) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    const found = this.best[low - 1];
    return found && found.value <= value ? found.row : null;
  }

  private readonly ends: number[] = [];
  private readonly best: { value: number; row: IRow }[] = [];
}

function byEstimate(rivals: readonly IRival[]): Set<string> {
  const found = new Set<string>();
  let lowest = Number.POSITIVE_INFINITY;
  for (const { row, y } of [...rivals].sort((one, other) => one.x[0] - other.x[0] || one.y[0] - other.y[0])) {
    if (y[0] < lowest) {
      lowest = y[0];
      found.add(row.key);
    }
  }
  return found;
}

export interface IBox {
  xLow: number;
  xHigh: number;
  yLow: number;
  yHigh: number;
}

/** One step of the band: from x on, the front is confirmed to lie above y2 and may be as high as y. */
export interface IStep {
  x: number;
  y: number;
  y2: number;
}

/**
 * Between the pessimistic and the optimistic staircase.
 *
 * @param boxes Intervals of the front; left and up is better.
 * @param end Where the last step ends.
 * @param bottom Where nothing is sure.
 */
export function band(boxes: readonly IBox[], end: number, bottom: number): IStep[] {
  const corners = boxes.flatMap(box => [
    { x: box.xLow, hope: box.yHigh, sure: bottom },
    { x: box.xHigh, hope: bottom, sure: box.yLow }
  ]);
  corners.sort((one, other) => one.x - other.x);
  const steps: IStep[] = [];
  let [hope, sure] = [bottom, bottom];
  for (const corner of corners) {
    hope = Math.max(hope, corner.hope);
    sure = Math.max(sure, corner.sure);
    const last = steps.at(-1);
    if (last && last.x === corner.x) {
      last.y = hope;
      last.y2 = sure;
    } else if (!last || last.y !== hope || last.y2 !== sure) {
      steps.push({ x: corner.x, y: hope, y2: sure });
    }
  }
  const last = steps.at(-1);
  return last && last.x < end ? [...steps, { x: end, y: last.y, y2: last.y2 }] : steps;
}
