/** What an axis, a column or a filter can be about. */

import type { Interval } from '../protocol';
import type { IRow } from '../rows';

/** As sections/tradeoff.py sends it. */
export interface IMeasure {
  name: string;
  label: string;
  /** With its unit. */
  title: string;
  unit: string;
  /** Whether more is better. */
  higher: boolean;
  /** One word for better: faster, smaller. */
  better: string;
  /** Of a setting that has words for values: a row's value is the place of its word. */
  options?: readonly string[];
  /** What rows have for each option: a number is not always written as it is here. */
  values?: readonly (number | string)[];
}

/** What a filter can be about: measures and settings. */
export function measuresOf({
  measures,
  settings
}: {
  measures: readonly IMeasure[];
  settings: readonly IMeasure[];
}): readonly IMeasure[] {
  return [...measures, ...settings];
}

const SETTING = 'setting:';

/** Whether a measure's name is that of a setting, not of what was measured. */
export function isSetting(name: string): boolean {
  return name.startsWith(SETTING);
}

function settingIn(row: IRow, { name, options, values = [] }: IMeasure): Interval | null {
  const value = row.settings[name.slice(SETTING.length)];
  if (value === undefined || !options?.length) {
    return typeof value === 'number' ? exact(value) : null;
  }
  const place = values.indexOf(value);
  return place < 0 ? null : exact(place);
}

function exact(value: number | null | undefined, scale = 1): Interval | null {
  return value === null || value === undefined ? null : [value * scale, value * scale, value * scale];
}

/** A row's value with its interval, in the measure's unit; null when it was not measured. */
export function valueIn(row: IRow, measure: IMeasure): Interval | null {
  const share = measure.unit === '%' ? 100 : 1;
  switch (measure.name) {
    case 'latency':
      return row.p50;
    case 'change':
      return row.change;
    case 'score':
      return exact(row.score, share);
    case 'size':
      return exact(row.size, 1e-3);
    case 'compressed_size':
      return exact(row.compressed, 1e-3);
    case 'memory':
      return exact(row.memory, 1e-6);
    case 'cpu':
      return exact(row.cpu);
    case 'p90':
      return exact(row.p90);
    case 'p99':
      return exact(row.p99);
    default:
      if (isSetting(measure.name)) {
        return settingIn(row, measure);
      }
      return measure.name.startsWith('metric:') ? exact(row.scores[measure.name.slice(7)], share) : null;
  }
}

/** The same for comparing rows with each other, so that less is better. */
export function costOf(row: IRow, measure: IMeasure): Interval | null {
  if (measure.name === 'latency' && row.speedup !== null) {
    // Paired with the baseline, so comparable between launches at different times.
    const [value, low, high] = row.speedup;
    return [1 / value, 1 / high, low > 0 ? 1 / low : Number.POSITIVE_INFINITY];
  }
  const found = valueIn(row, measure);
  return found !== null && measure.higher ? [-found[0], -found[2], -found[1]] : found;
}

export function isPlotted(row: IRow): boolean {
  return row.status !== 'failed' && row.status !== 'planned';
}

/**
 * The measure of an axis, or, while no row has a value on it, one that rows have: a sweep evaluates before it times.
 *
 * @param spare What is shown instead, named in the title.
 */
export function knownOr(rows: Iterable<IRow>, wanted: IMeasure, spare: IMeasure | undefined): IMeasure {
  let instead = false;
  for (const row of rows) {
    if (isPlotted(row) && valueIn(row, wanted) !== null) {
      return wanted;
    }
    instead = instead || (spare !== undefined && isPlotted(row) && valueIn(row, spare) !== null);
  }
  return instead && spare ? { ...spare, title: `${spare.title}, until ${wanted.label} is measured` } : wanted;
}

/** Whether there is a point to draw. */
export function hasPoint(rows: Iterable<IRow>, x: IMeasure, y: IMeasure): boolean {
  for (const row of rows) {
    if (isPlotted(row) && valueIn(row, x) !== null && valueIn(row, y) !== null) {
      return true;
    }
  }
  return false;
}
