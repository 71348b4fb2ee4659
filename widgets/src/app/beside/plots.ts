/** Charts with the same axes: where the points of each are. No drawing happens here. */

import { axisOf, ends, type IAxis, padded, place, scaleOf } from '../chart/axes';
import { extent } from '../format';
import type { IRow } from '../rows';
import { type IJudged, isStrong, judge } from '../tradeoff/front';
import { type IMeasure, isPlotted, valueIn } from '../tradeoff/measures';

export interface IDot {
  row: IRow;
  /** Shares of the plot, from the lower left. */
  x: number;
  y: number;
  /** Ends of the intervals, across and up. */
  across: [number, number];
  up: [number, number];
  strong: boolean;
}

export interface IPlots {
  x: IAxis;
  y: IAxis;
  /** Each has a front of its own. */
  sides: IDot[][];
}

export function plotsOf(sides: readonly (readonly IRow[])[], x: IMeasure, y: IMeasure): IPlots | null {
  const found = sides.map(rows => rows.filter(row => isPlotted(row) && valueIn(row, x) && valueIn(row, y)));
  const all = found.flat();
  if (all.length === 0) {
    return null;
  }
  const [acrossAxis, upAxis] = [axis(all, x, true), axis(all, y, false)];
  const placed = found.map(rows => dots(rows, acrossAxis, upAxis, judge(rows, x, y)));
  return { x: acrossAxis, y: upAxis, sides: placed };
}

const LETTER_PX = 6.5;
const GAP_PX = 8;
const ROUND = /^−?(0|0\.0*1|10*)$/;

/**
 * Labels that can be read side by side: one that would touch another is left out, powers of ten last.
 *
 * @param at Where each is, in pixels.
 */
export function readable(labels: readonly string[], at: readonly number[]): string[] {
  const kept: number[] = [];
  const order = [...labels.keys()].sort(
    (a, b) => Number(ROUND.test(labels[b] ?? '')) - Number(ROUND.test(labels[a] ?? ''))
  );
  const width = (place: number): number => (labels[place]?.length ?? 0) * LETTER_PX;
  const apart = (a: number, b: number): number => Math.abs((at[a] ?? 0) - (at[b] ?? 0)) - (width(a) + width(b)) / 2;
  for (const place of order) {
    if (kept.every(other => apart(place, other) >= GAP_PX)) {
      kept.push(place);
    }
  }
  return labels.map((label, place) => (kept.includes(place) ? label : ''));
}

function axis(rows: readonly IRow[], measure: IMeasure, across: boolean): IAxis {
  const values = rows.flatMap(row => valueIn(row, measure)?.[0] ?? []);
  const scale = scaleOf(measure, values, across);
  const must = measure.name === 'change' ? [0] : [];
  return axisOf(measure, scale, padded(...extent([...must, ...values].map(value => place(scale, value)))), across);
}

function dots(rows: readonly IRow[], x: IAxis, y: IAxis, judged: ReadonlyMap<string, IJudged>): IDot[] {
  const share = (of: IAxis, position: number): number =>
    Math.min(1, Math.max(0, (position - of.low) / (of.high - of.low)));
  return rows.flatMap(row => {
    const [across, up] = [valueIn(row, x.measure), valueIn(row, y.measure)];
    if (!across || !up) {
      return [];
    }
    const [left, right] = ends(x, across);
    const [bottom, top] = ends(y, up);
    return [
      {
        row,
        x: share(x, place(x, across[0])),
        y: share(y, place(y, up[0])),
        across: [share(x, left), share(x, right)] as [number, number],
        up: [share(y, bottom), share(y, top)] as [number, number],
        strong: isStrong(judged.get(row.key))
      }
    ];
  });
}
