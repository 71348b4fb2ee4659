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

/**
 * Decimals of a column: those at which the median half-width has one significant digit.
 *
 * @param most Never more than these.
 */
export function digitsFor(widths: readonly number[], most = 6): number {
  const known = widths.filter(w => Number.isFinite(w) && w > 0).sort((a, b) => a - b);
  const middle = known[Math.floor(known.length / 2)];
  return middle === undefined ? 3 : Math.min(most, Math.max(0, -Math.floor(Math.log10(middle))));
}

/** `0.094 ± 0.001`; a half-width that rounds to zero shows the last place. */
export function plusMinus(interval: Interval, digits: number): { value: string; around: string } {
  const half = Math.max(halfWidth(interval), 10 ** -digits);
  return { value: fixed(interval[0], digits), around: `± ${half.toFixed(digits)}` };
}

/** `×2.79 [2.75, 2.83]`. */
export function ratio([value, low, high]: Interval): { value: string; around: string } {
  return { value: `×${value.toFixed(2)}`, around: `[${low.toFixed(2)}, ${Math.min(high, 999).toFixed(2)}]` };
}

/** Bytes in kB of 1000 bytes. */
export function kilobytes(bytes: number): string {
  const kb = bytes / 1000;
  return kb >= 10 ? thousands(Math.round(kb)) : kb.toFixed(1);
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
