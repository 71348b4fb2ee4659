/** Axes: where values stand, which stretch is shown, and what is written beside it. Left and up is better. */

import { extent, fixed } from '../format';
import type { Interval } from '../protocol';
import type { IMeasure } from '../tradeoff/measures';

export interface IAxis {
  measure: IMeasure;
  title: string;
  log: boolean;
  /** -1 where the better end would be on the wrong side. */
  sign: 1 | -1;
  low: number;
  high: number;
  ticks: number[];
  labels: string[];
}

/** Ratio of the largest to the smallest value above which an axis is logarithmic. */
const LOG_FROM = 5;
/** Room beyond the points, as a share of what is shown. */
const PAD = 0.12;
/** Points this much further out than the usual ones are still shown; 1 is the length of the usual stretch. */
const REACH = 0.3;

export function place(axis: Pick<IAxis, 'log' | 'sign'>, value: number): number {
  return axis.sign * (axis.log ? Math.log10(Math.max(value, Number.MIN_VALUE)) : value);
}

export function unplace(axis: Pick<IAxis, 'log' | 'sign'>, position: number): number {
  return axis.log ? 10 ** (axis.sign * position) : axis.sign * position;
}

/** Both ends of an interval, the smaller position first; on a logarithm an end is at most a factor of ten away. */
export function ends(axis: Pick<IAxis, 'log' | 'sign'>, [value, low, high]: Interval): [number, number] {
  const near = axis.log ? Math.max(low, value / 10) : low;
  const far = axis.log ? Math.min(high, value * 10) : high;
  const [one, other] = [place(axis, near), place(axis, far)];
  return one <= other ? [one, other] : [other, one];
}

export function scaleOf(measure: IMeasure, values: readonly number[], across: boolean): Pick<IAxis, 'log' | 'sign'> {
  const [low, high] = extent(values);
  const log = !measure.higher && low > 0 && high / low > LOG_FROM;
  return { log, sign: measure.higher === across ? -1 : 1 };
}

/**
 * The usual stretch of an axis: from the 2nd to the 98th percentile, what must be seen, and what is not far from it.
 *
 * @param positions Of all points.
 * @param must Positions that must be seen.
 */
export function usual(positions: readonly number[], must: readonly number[]): [number, number] {
  const sorted = [...positions].sort((one, other) => one - other);
  let [low, high] = extent([quantile(sorted, 0.02), quantile(sorted, 0.98), ...must]);
  const reach = REACH * (high - low || 1);
  const [first, last] = [sorted[0] ?? low, sorted.at(-1) ?? high];
  low = first >= low - reach ? Math.min(low, first) : low;
  high = last <= high + reach ? Math.max(high, last) : high;
  return padded(low, high);
}

/** With room on both sides; above there is more of it, for words. */
export function padded(low: number, high: number): [number, number] {
  const pad = PAD * (high - low || Math.abs(low) || 1);
  return [low - pad / 2, high + pad];
}

function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)] ?? 0, sorted[Math.ceil(at)] ?? 0];
  return below + (above - below) * (at - Math.floor(at));
}

/** A stretch that does not jump with each new point: the old one, while it still fits. */
export function steady(old: readonly [number, number] | null, next: [number, number]): [number, number] {
  if (old === null || next[0] < old[0] || next[1] > old[1]) {
    return next;
  }
  return next[1] - next[0] > 0.75 * (old[1] - old[0]) ? [old[0], old[1]] : next;
}

export function axisOf(
  measure: IMeasure,
  scale: Pick<IAxis, 'log' | 'sign'>,
  [low, high]: readonly [number, number],
  across: boolean
): IAxis {
  const [one, other] = [unplace(scale, low), unplace(scale, high)];
  const range: [number, number] = one <= other ? [one, other] : [other, one];
  const { values, labels } = scale.log ? logTicks(range) : linearTicks(range, across ? 7 : 6);
  const pairs = values.map((value, at) => ({ at: place(scale, value), label: labels[at] as string }));
  pairs.sort((a, b) => a.at - b.at);
  const arrow = across ? `← ${measure.better}` : '';
  const words = scale.log ? `${measure.title} (log scale)` : measure.title;
  return {
    measure,
    ...scale,
    low,
    high,
    title: arrow ? `${words}   ${arrow}` : measure.name === 'change' ? words : `${words} ${measure.better} ↑`,
    ticks: pairs.map(pair => pair.at),
    labels: pairs.map(pair => pair.label)
  };
}

/** Multiples in a decade, the fewest first. */
const STEPS = [[1], [1, 3], [1, 2, 5], [1, 2, 3, 5, 7]];

function logTicks([low, high]: [number, number]): { values: number[]; labels: string[] } {
  let values: number[] = [];
  for (const steps of STEPS) {
    const found: number[] = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      found.push(...steps.map(step => Number(`${step}e${power}`)));
    }
    const inside = found.filter(value => value >= low && value <= high);
    if (inside.length > 8 && values.length > 1) {
      break;
    }
    values = inside;
  }
  return values.length < 2 ? linearTicks([low, high], 5) : { values, labels: values.map(plain) };
}

function linearTicks([low, high]: [number, number], count: number): { values: number[]; labels: string[] } {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find(times => times * power >= rough) ?? 10);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const values: number[] = [];
  for (let at = Math.ceil(low / step); at * step <= high + 1e-9 * step; at++) {
    values.push(at * step);
  }
  return { values, labels: values.map(value => (Math.abs(value) < step / 2 ? '0' : grouped(fixed(value, digits)))) };
}

function plain(value: number): string {
  return grouped(value.toLocaleString('en', { maximumSignificantDigits: 6, useGrouping: false }));
}

/** Thin gaps between thousands, not between decimals. */
function grouped(text: string): string {
  return text.replace(/^\D*\d{4,}/, whole => whole.replace(/\B(?=(\d{3})+$)/g, '\u2009'));
}
