/** Values to try of one parameter: ranges with a step, lists, and how they are shown and typed. */

import { minus } from '../format';

export type Value = boolean | number | string | null;

/** A parameter of a technique, as the kernel declares it (space_controls.py). */
export interface IControl {
  name: string;
  label: string;
  kind: 'range' | 'numbers' | 'choices' | 'names' | 'paths';
  help: string;
  unit: string;
  /** Shown in percent. */
  share: boolean;
  minimum: number | null;
  maximum: number | null;
  step: number | null;
  /** Whether it may be left to the tool. */
  automatic: boolean;
  /** What it means to give no value, where that is allowed. */
  empty: string;
  choices: { value: Value; label: string; reason: string }[];
  values: Value[];
  /** Whether it is shown at once. */
  first: boolean;
  problem: string;
  fixed: boolean;
}

/** What a slider needs to know. */
export interface IScale {
  minimum: number;
  maximum: number;
  step: number;
  share?: boolean;
  unit?: string;
}

/** Digits that are kept: enough for any setting, too few for what binary fractions leave behind. */
const DIGITS = 10;

function clean(value: number): number {
  return Number(value.toPrecision(DIGITS));
}

export function sorted(values: readonly number[]): number[] {
  return [...new Set(values.map(clean))].sort((a, b) => a - b);
}

function same(a: number, b: number): boolean {
  return Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a), Math.abs(b));
}

/**
 * The step between sorted values: 0 for a single one, null when they are irregular. The last step may be shorter, since
 * both ends are always tried.
 */
export function stepOf(values: readonly number[]): number | null {
  const [first, second] = values;
  if (first === undefined || second === undefined) {
    return 0;
  }
  const step = clean(second - first);
  const gaps = values.slice(1).map((value, i) => value - (values[i] as number));
  const last = gaps.pop() as number;
  return gaps.every(gap => same(gap, step)) && last <= step + 1e-9 ? step : null;
}

/** Both ends and all between them at a step. */
export function spread(from: number, to: number, step: number): number[] {
  const count = step > 0 ? Math.floor((to - from) / step + 1e-9) : 0;
  return sorted([...Array.from({ length: count + 1 }, (_, i) => from + i * step), to]);
}

/** The values when the ends are moved: a step stays, and so do the other values that are still inside. */
export function between(values: readonly number[], from: number, to: number): number[] {
  const step = stepOf(values);
  if (values.length <= 2) {
    return sorted([from, to]);
  }
  if (step !== null) {
    return spread(from, to, step);
  }
  return sorted([from, ...values.filter(v => v > from && v < to), to]);
}

/** Where a key takes a thumb; null when the key is none of the slider's. */
export function afterKey(key: string, value: number, { minimum, maximum, step }: IScale): number | null {
  const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[key];
  if (key === 'Home') {
    return minimum;
  }
  if (key === 'End') {
    return maximum;
  }
  if (steps === undefined) {
    return null;
  }
  const place = (value - minimum) / step;
  // A value between two marks goes to the next mark.
  const start = steps > 0 ? Math.floor(place + 1e-9) : Math.ceil(place - 1e-9);
  return clean(Math.min(maximum, Math.max(minimum, minimum + (start + steps) * step)));
}

/** The mark that is nearest to a place on the track (0 to 1); the ends are also marks. */
export function atShare(share: number, { minimum, maximum, step }: IScale): number {
  const wanted = minimum + Math.min(1, Math.max(0, share)) * (maximum - minimum);
  const mark = Math.min(maximum, minimum + Math.round((wanted - minimum) / step) * step);
  return clean(maximum - wanted < Math.abs(mark - wanted) ? maximum : mark);
}

/** A number as it is typed: in percent for a share. */
export function typed(value: number, { share }: { share?: boolean }): string {
  return String(clean(share ? 100 * value : value));
}

export function unitOf({ share, unit = '' }: { share?: boolean; unit?: string }): string {
  return share ? '%' : unit;
}

/** `50 %`, `2 epochs`. */
export function withUnit(value: number, shown: { share?: boolean; unit?: string }): string {
  return minus(`${typed(value, shown)} ${unitOf(shown)}`.trim());
}

/** A typed number: NaN when it is none. */
export function parsed(text: string, { share }: { share?: boolean }): number {
  const bare = text.replace('−', '-').replace(/%\s*$/, '').trim();
  const number = bare === '' ? Number.NaN : Number(bare);
  return clean(share ? number / 100 : number);
}

/**
 * A typed list of numbers separated by commas; empty is automatic where that is allowed. Text that is not a number stays
 * text: the kernel says what is wrong with it.
 */
export function listed(text: string, control: Pick<IControl, 'share' | 'automatic'>): Value[] {
  const parts = text
    .split(/[,;]/)
    .map(part => part.trim())
    .filter(part => part !== '');
  if (parts.length === 0 && control.automatic) {
    return [null];
  }
  return parts.map(part => {
    const number = parsed(part, control);
    return Number.isFinite(number) ? number : part;
  });
}

/** The opposite of `listed`. */
export function asList(values: readonly Value[], control: Pick<IControl, 'share'>): string {
  return values
    .filter(value => value !== null)
    .map(value => (typeof value === 'number' ? typed(value, control) : String(value)))
    .join(', ');
}
