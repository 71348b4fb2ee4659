/** Parallel coordinates: axes, where values are on them, and the line of each candidate. No drawing happens here. */

import { scaleOf } from '../chart/axes';
import { extent, fixed } from '../format';
import type { IRow } from '../rows';
import { isHidden, isOutside } from '../tradeoff/filters';
import { type IJudged, isStrong } from '../tradeoff/front';
import { type IMeasure, isPlotted, isSetting, valueIn } from '../tradeoff/measures';
import type { IRange, IView } from '../view';

/** Where lines pass an axis whose setting they do not use; values are from 0 (bottom) to 1. */
export const UNUSED = -0.12;
const TICKS = 4;

export interface ICoordinate {
  measure: IMeasure;
  /** Values at the bottom and at the top; up is better. */
  low: number;
  high: number;
  log: boolean;
  ticks: { at: number; label: string }[];
}

export interface ILine {
  row: IRow;
  /** By axis. */
  at: readonly number[];
  color: string;
  strong: boolean;
  dimmed: boolean;
}

/** The axes from left to right: settings first, then what was measured. */
export function coordinatesOf(rows: Iterable<IRow>, measures: readonly IMeasure[]): ICoordinate[] {
  const found = [...rows].filter(isPlotted);
  return measures.flatMap(measure => {
    const values = found.flatMap(row => valueIn(row, measure)?.[0] ?? []);
    return values.length > 0 ? [coordinate(measure, values)] : [];
  });
}

function coordinate(measure: IMeasure, values: readonly number[]): ICoordinate {
  const { options } = measure;
  if (options && options.length > 0) {
    const axis = { measure, low: -0.5, high: options.length - 0.5, log: false };
    return { ...axis, ticks: options.map((label, value) => ({ at: position(axis, value), label })) };
  }
  let [least, most] = extent(values);
  const { log } = scaleOf(measure, values, false);
  if (least === most) {
    const room = 0.5 * (Math.abs(least) || 1);
    [least, most] = [least - room, most + room];
  }
  const [low, high] = measure.higher ? [least, most] : [most, least];
  const axis = { measure, low, high, log };
  const different = [...new Set(values)].sort((one, other) => one - other);
  const shown =
    isSetting(measure.name) && different.length <= TICKS + 1
      ? different
      : Array.from({ length: TICKS + 1 }, (_, step) => valueAt(axis, step / TICKS));
  return { ...axis, ticks: shown.map(value => ({ at: position(axis, value), label: short(value) })) };
}

type Scale = Pick<ICoordinate, 'low' | 'high' | 'log'>;

/** Where a value is, from 0 at the bottom to 1 at the top. */
export function position({ low, high, log }: Scale, value: number): number {
  const [from, to, at] = log ? [Math.log(low), Math.log(high), Math.log(value)] : [low, high, value];
  return (at - from) / (to - from);
}

export function valueAt({ low, high, log }: Scale, at: number): number {
  if (at === 0 || at === 1) {
    return at === 0 ? low : high; // exactly: a candidate that stands there is in a range that ends there
  }
  return log ? low * (high / low) ** at : low + at * (high - low);
}

/** Three digits, and none that say nothing. */
export function short(value: number): string {
  const rounded = Number(value.toPrecision(3));
  const digits = Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(Math.abs(rounded) || 1))));
  return fixed(rounded, digits).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, ''); // biome-ignore format: one chain
}

interface IScene {
  rows: Iterable<IRow>;
  judged: ReadonlyMap<string, IJudged>;
  /** Of chart and settings: a brush may be about any of them. */
  measures: readonly IMeasure[];
  colorOf(runtime: string): string;
  view: Pick<IView, 'brush' | 'hiddenRuntimes' | 'hiddenFamilies' | 'frontOnly' | 'failedOnly'>;
}

/** A line for each candidate that the chart shows too; what the brush leaves out stays, dimmed. */
export function linesOf(axes: readonly ICoordinate[], scene: IScene): ILine[] {
  const found: ILine[] = [];
  for (const row of scene.rows) {
    const judged = scene.judged.get(row.key);
    if (!isPlotted(row) || isHidden(row, scene.view, judged)) {
      continue;
    }
    const at = axes.map(axis => {
      const value = valueIn(row, axis.measure)?.[0];
      return value === undefined ? UNUSED : position(axis, value);
    });
    found.push({
      row,
      at,
      color: scene.colorOf(row.runtime),
      strong: isStrong(judged),
      dimmed: scene.view.brush.length > 0 && isOutside(row, scene.view.brush, scene.measures)
    });
  }
  return found;
}

/** Places of the axes and of their ends, in pixels. */
export interface IPlaces {
  left: number;
  /** Between two axes. */
  step: number;
  top: number;
  bottom: number;
}

export function yOf({ top, bottom }: IPlaces, at: number): number {
  return bottom - at * (bottom - top);
}

/** The line nearest to a place, within some pixels; of lines at one place one that is not dimmed. */
export function nearestLine(
  lines: readonly ILine[],
  places: IPlaces,
  [x, y]: readonly [number, number],
  within: number
): ILine | null {
  let best: ILine | null = null;
  let closest = within;
  for (const line of lines) {
    const along = (x - places.left) / places.step;
    const left = Math.max(0, Math.min(line.at.length - 1, Math.floor(along)));
    const right = Math.min(line.at.length - 1, left + 1);
    const share = Math.max(0, Math.min(1, along - left));
    const from = yOf(places, line.at[left] ?? 0);
    const to = yOf(places, line.at[right] ?? 0);
    // Steep lines are measured across, not down.
    const slope = (to - from) / places.step;
    const distance = Math.abs(from + share * (to - from) - y) / Math.hypot(1, slope);
    if (distance < closest - 1e-6 || (distance < closest + 1e-6 && best?.dimmed && !line.dimmed)) {
      best = line;
      closest = distance;
    }
  }
  return best;
}

/** The values between two places of an axis; of words, those in between. Null where there is none. */
export function rangeBetween(axis: ICoordinate, one: number, other: number): IRange | null {
  const clamp = (at: number): number => Math.max(0, Math.min(1, at));
  const ends = [valueAt(axis, clamp(one)), valueAt(axis, clamp(other))].sort((a, b) => a - b) as [number, number];
  let [low, high] = ends;
  if (axis.measure.options?.length) {
    // An option is in when its middle is.
    [low, high] = [Math.ceil(low), Math.floor(high)];
    if (low > high) {
      return null;
    }
    [low, high] = [low - 0.5, high + 0.5];
  }
  return { measure: axis.measure.name, low, high };
}

/** What the brush says of an axis. */
export function rangeOn(brush: readonly IRange[], { measure }: ICoordinate): IRange | null {
  return brush.find(range => range.measure === measure.name) ?? null;
}

/** The brush with another range for one of its measures, or without one. */
export function withRange(brush: readonly IRange[], measure: string, range: IRange | null): IRange[] {
  const others = brush.filter(known => known.measure !== measure);
  return range ? [...others, range] : others;
}

/** Lines in the order of their values on an axis, from the bottom to the top. */
export function upwards(lines: readonly ILine[], axis: number): ILine[] {
  return lines
    .filter(line => !line.dimmed)
    .sort((one, other) => (one.at[axis] ?? 0) - (other.at[axis] ?? 0) || (one.row.key < other.row.key ? -1 : 1));
}

/** The option at a place, or the number. */
export function wordOf(measure: IMeasure, value: number): string {
  return measure.options?.[value] ?? short(value);
}

/** A value in words: the option, or the number with its unit. */
export function worded(row: IRow, measure: IMeasure): string {
  const value = valueIn(row, measure)?.[0];
  if (value === undefined) {
    return 'not used';
  }
  return `${wordOf(measure, value)}${measure.unit ? `\u2009${measure.unit}` : ''}`; // options have no unit
}
