/** Numbers for people: digits follow the uncertainty, minus signs are minus signs. */

import type { Interval } from './protocol';

export const DASH = '—';

/** Order of names, with numbers in them as numbers; made once, since each making costs more than a thousand uses. */
export const byName = new Intl.Collator('en', { numeric: true }).compare;

export function minus(text: string): string {
  return text.replace('-', '−');
}

export function fixed(value: number, digits: number): string {
  const text = value.toFixed(digits);
  return minus(Number(text) === 0 ? text.replace('-', '') : text);
}

/** A largest loss in percent, every digit of it, one decimal at least: "1.0", "0.25". */
export function limitText(percent: number): string {
  return minus(percent.toFixed(6).replace(/(\.\d+?)0+$/, '$1'));
}

export function halfWidth([, low, high]: Interval): number {
  return (high - low) / 2;
}

/** Most decimals, and an end of an interval beyond which it is not shown: it is not known. */
const MOST = 6;
const FAR = 1e6;

function exponentOf(value: number): number {
  return Number(Math.abs(value).toExponential(6).split('e')[1]);
}

// What follows writes numbers as deploykit/reporting/numbers.py does: tests/numbers.json holds what both must write.

/** Decimals at which a half-width has one significant digit; 3 when it says nothing. */
export function digitsOf(half: number): number {
  return Number.isFinite(half) && half > 0 ? Math.min(MOST, Math.max(0, -exponentOf(half))) : 3;
}

/** A number without an interval, to so many significant digits. */
export function significant(value: number, digits = 4): string {
  if (!Number.isFinite(value) || value === 0) {
    return value === 0 ? '0' : DASH;
  }
  return fixed(value, Math.min(8, Math.max(0, digits - 1 - exponentOf(value))));
}

export interface IShown {
  value: string;
  /** Its interval, empty when none is known. */
  around: string;
}

/** `0.0387 ± 0.0001`. */
export function milliseconds(interval: Interval): IShown {
  const half = halfWidth(interval);
  const digits = digitsOf(half);
  if (!Number.isFinite(half) || half > FAR) {
    return { value: significant(interval[0], 3), around: '' };
  }
  return { value: fixed(interval[0], digits), around: `± ${fixed(Math.max(half, 10 ** -digits), digits)}` };
}

/** A number without an interval of its own, such as p90, to the digits of one beside it; without one, to three. */
export function beside(value: number, interval: Interval | null): string {
  return interval ? fixed(value, digitsOf(halfWidth(interval))) : significant(value, 3);
}

/** A change, in points already: `−0.31 ± 0.24`; lopsided intervals keep their ends. */
export function points([value, low, high]: Interval): IShown {
  const [up, down] = [high - value, value - low];
  return Math.abs(up - down) > 0.05
    ? { value: fixed(value, 2), around: `[${fixed(low, 2)}, ${fixed(high, 2)}]` }
    : { value: fixed(value, 2), around: `± ${fixed(Math.max(up, down, 0.01), 2)}` };
}

/** `2.79× [2.75, 2.83]`. */
export function ratio([value, low, high]: Interval): IShown {
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  const around = Number.isFinite(high) && high <= FAR ? `[${fixed(low, digits)}, ${fixed(high, digits)}]` : '';
  return { value: `${fixed(value, digits)}×`, around };
}

/** A quantity over launches, whose interval is lopsided: `28.8 [27.9, 29.6]`; alone where that is not known. */
export function amount(interval: Interval): IShown {
  const [value, low, high] = interval;
  if (low <= value / 100 || high >= 100 * value) {
    return { value: significant(value, 3), around: '' };
  }
  const digits = digitsOf(halfWidth(interval) / 5);
  return { value: fixed(value, digits), around: `[${fixed(low, digits)}, ${fixed(high, digits)}]` };
}

/** A metric: percent of a share, or an error to four significant digits. */
export function score(value: number, relative: boolean): string {
  return relative ? significant(value) : fixed(100 * value, 2);
}

/** Bytes in kB of 1000 bytes. */
export function kilobytes(bytes: number): string {
  const kb = bytes / 1000;
  return kb >= 10 ? fixed(kb, 0).replace(/\B(?=(\d{3})+$)/g, ',') : fixed(kb, 1);
}

export function megabytes(bytes: number): string {
  return fixed(bytes / 1e6, 1);
}

/** A value and its interval in a line. */
export function inLine({ value, around }: IShown): string {
  return around ? `${value} ${around}` : value;
}

/** A share in percent: `0 %`, `< 0.1 %`, `3.1 %`, `58 %`. */
export function percent(share: number): string {
  const value = 100 * share;
  if (value > 0 && value < 0.05) {
    return '< 0.1 %';
  }
  return `${value === 0 || value >= 9.95 ? Math.round(value) : value.toFixed(1)} %`;
}

/** With thin gaps; a locale's own way takes a thousand times longer, and tables have thousands of numbers. */
export function thousands(value: number): string {
  return minus(String(value)).replace(/\B(?=(\d{3})+(?!\d))/g, '\u2009');
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${thousands(count)} ${count === 1 ? one : many}`;
}

/** The smallest and the largest; a call with all of them as arguments fails from about a hundred thousand on. */
export function extent(values: Iterable<number>): [low: number, high: number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}
