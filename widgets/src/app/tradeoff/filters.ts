/** What is shown: legend, brush and other filters, in words and as code. */

import { fixed } from '../format';
import type { IRow } from '../rows';
import type { IRange, IView } from '../view';
import { type IJudged, isStrong } from './front';
import { type IMeasure, isSetting, valueIn } from './measures';

export type Filters = Pick<IView, 'brush' | 'hiddenRuntimes' | 'hiddenFamilies' | 'frontOnly' | 'failedOnly'>;

/** Whether the legend or "best trade-offs only" takes a candidate off the chart. */
export function isHidden(row: IRow, filters: Filters, judged: IJudged | undefined): boolean {
  return (
    filters.hiddenRuntimes.includes(row.runtime) ||
    filters.hiddenFamilies.includes(row.family) ||
    (filters.frontOnly && !isStrong(judged))
  );
}

/** Whether the brush leaves a candidate out: it stays on the chart, dimmed. */
export function isOutside(row: IRow, brush: readonly IRange[], measures: readonly IMeasure[]): boolean {
  return brush.some(range => {
    const measure = measures.find(known => known.name === range.measure);
    const value = measure && valueIn(row, measure)?.[0];
    return value === undefined || value < range.low || value > range.high;
  });
}

export interface IChip {
  words: string;
  /** What taking it away means. */
  without: Partial<IView>;
}

export function chips(filters: Filters, measures: readonly IMeasure[], labelOf: (runtime: string) => string): IChip[] {
  const found: IChip[] = [];
  const dragged = filters.brush.filter(range => !isSetting(range.measure));
  if (dragged.length > 0) {
    const words = dragged.map(range => inWords(range, measures)).join(', ');
    found.push({ words, without: { brush: filters.brush.filter(range => isSetting(range.measure)) } });
  }
  for (const range of filters.brush.filter(({ measure }) => isSetting(measure))) {
    const label = measures.find(known => known.name === range.measure)?.label ?? range.measure;
    const words = `${label}: ${inWords(range, measures)}`;
    found.push({ words, without: { brush: filters.brush.filter(other => other !== range) } });
  }
  for (const name of filters.hiddenRuntimes) {
    const rest = filters.hiddenRuntimes.filter(other => other !== name);
    found.push({ words: `without ${labelOf(name)}`, without: { hiddenRuntimes: rest } });
  }
  for (const name of filters.hiddenFamilies) {
    const rest = filters.hiddenFamilies.filter(other => other !== name);
    found.push({ words: `without ${name}`, without: { hiddenFamilies: rest } });
  }
  if (filters.frontOnly) {
    found.push({ words: 'best trade-offs only', without: { frontOnly: false } });
  }
  if (filters.failedOnly) {
    found.push({ words: 'failed only', without: { failedOnly: false } });
  }
  return found;
}

/** `0.07–0.13 ms`; of words those that are in. */
export function inWords(range: IRange, measures: readonly IMeasure[]): string {
  const measure = measures.find(known => known.name === range.measure);
  if (measure?.options?.length) {
    return optionsIn(range, measure.options).join(', ');
  }
  const unit = measure?.unit ?? '';
  const digits = digitsOf(range);
  const [low, high] = [fixed(range.low, digits), fixed(range.high, digits)];
  return `${low}${low.includes('−') || high.includes('−') ? ' to ' : '–'}${high}${unit ? `\u2009${unit}` : ''}`;
}

function optionsIn({ low, high }: IRange, options: readonly string[]): string[] {
  return options.filter((_, at) => at >= low && at <= high);
}

/** Enough to tell the two ends apart to a hundredth of what lies between; no zeros that both could do without. */
function digitsOf({ low, high }: IRange): number {
  let digits = Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(high - low || 1))));
  while (digits > 0 && [low, high].every(end => end.toFixed(digits).endsWith('0'))) {
    digits -= 1;
  }
  return digits;
}

/** Columns of `Report.to_frame`, and what a measure's unit is in theirs. */
const COLUMNS: Record<string, { column: string; scale: number }> = {
  latency: { column: 'p50_ms', scale: 1 },
  p90: { column: 'p90_ms', scale: 1 },
  p99: { column: 'p99_ms', scale: 1 },
  cpu: { column: 'cpu_ms', scale: 1 },
  size: { column: 'size_bytes', scale: 1e3 },
  compressed_size: { column: 'compressed_bytes', scale: 1e3 },
  memory: { column: 'peak_memory_bytes', scale: 1e6 },
  change: { column: 'change', scale: 0.01 },
  'setting:family': { column: 'family', scale: 1 },
  'setting:runtime': { column: 'runtime', scale: 1 },
  'setting:device': { column: 'device', scale: 1 },
  'setting:threads': { column: 'threads', scale: 1 },
  'setting:batch_size': { column: 'batch_size', scale: 1 }
};

/**
 * Python that makes the same rows of a report.
 *
 * @param rows Of the report: options of runtimes are labels, the frame has the names that its rows have.
 */
export function frameCode(filters: Filters, measures: readonly IMeasure[], rows: Iterable<IRow>): string {
  const tests: string[] = [];
  const notes: string[] = [];
  for (const range of filters.brush) {
    const measure = measures.find(known => known.name === range.measure);
    const known = measure?.name === 'score' ? { column: 'value', scale: measure.unit === '%' ? 0.01 : 1 } : undefined;
    const { column, scale } = known ?? COLUMNS[range.measure] ?? { column: '', scale: 1 };
    if (column && measure?.options?.length) {
      const words = optionsIn(range, measure.options);
      tests.push(`${column} in ${list(column === 'runtime' ? namesOf(words, rows) : words)}`);
    } else if (column) {
      tests.push(`${number(range.low * scale)} <= ${column} <= ${number(range.high * scale)}`);
    } else {
      notes.push(`# The frame has no column for ${measure?.label ?? range.measure}, so it is not filtered by it.`);
    }
  }
  if (filters.hiddenRuntimes.length > 0) {
    tests.push(`runtime not in ${list(filters.hiddenRuntimes)}`);
  }
  if (filters.hiddenFamilies.length > 0) {
    tests.push(`family not in ${list(filters.hiddenFamilies)}`);
  }
  if (filters.frontOnly) {
    tests.push('on_front');
  }
  if (filters.failedOnly) {
    tests.push("status == 'failed'");
  }
  const query = tests.length > 0 ? `.query(\n    "${tests.join(' and ')}"\n)` : '';
  return [...notes, `frame = report.to_frame()${query}`].join('\n');
}

/** Names of the runtimes that have these labels. */
function namesOf(labels: readonly string[], rows: Iterable<IRow>): string[] {
  const found = new Set<string>();
  for (const { runtime, settings } of rows) {
    if (labels.includes(String(settings.runtime))) {
      found.add(runtime);
    }
  }
  return [...found].sort();
}

function number(value: number): string {
  return String(Number(value.toPrecision(6)));
}

function list(names: readonly string[]): string {
  return `[${names.map(name => `'${name}'`).join(', ')}]`;
}
