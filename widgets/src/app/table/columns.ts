/** Columns of the table: what they hold, how it is written, how it is sorted. */

import {
  amount,
  beside,
  byName,
  DASH,
  fixed,
  kilobytes,
  megabytes,
  milliseconds,
  points,
  ratio,
  score,
  thousands
} from '../format';
import type { Interval } from '../protocol';
import type { IRow } from '../rows';

export interface ICell {
  value: string;
  /** Its interval, in softer ink. */
  around?: string;
  /** Why there is nothing, or what it means. */
  title?: string;
}

export interface IColumn {
  name: string;
  title: string;
  cell(row: IRow): ICell;
  /** For sorting; null is unknown, and comes last. */
  sort(row: IRow): number | string | null;
}

type Unnamed = Omit<IColumn, 'name'>;

export const USUAL = ['change', 'latency', 'speedup', 'size'] as const;
/** Beside the usual ones, under "Columns". */
export const MORE = [
  'technique',
  'compressed',
  'memory',
  'p90',
  'p99',
  'cpu',
  'load',
  'coldLoad',
  'first',
  'throughput',
  'tokens',
  'energy',
  'score',
  'agreement',
  'flips',
  'seconds',
  'key'
] as const;

const NOTHING: ICell = { value: DASH };

/** All columns. */
export function columnsOf(unit: string, metric: string, share: boolean): Map<string, IColumn> {
  const ms = (title: string, get: (row: IRow) => number | null, why?: string): Unnamed => ({
    title: `${title}, ms`,
    cell: row => {
      const value = get(row);
      return value === null && row.p50 && why
        ? { ...NOTHING, title: why }
        : one(value, known => beside(known, row.p50));
    },
    sort: get
  });
  const kB = (title: string, get: (row: IRow) => number | null): Unnamed => ({
    title: `${title}, kB`,
    cell: row => one(get(row), kilobytes),
    sort: get
  });
  const over = (title: string, name: 'load' | 'coldLoad' | 'first' | 'throughput' | 'tokens' | 'energy'): Unnamed => ({
    title,
    cell: row => {
      const why = name === 'coldLoad' || name === 'energy' ? row.missing[name] : undefined;
      return why ? { value: 'not measurable here', title: why } : row[name] ? amount(row[name]) : NOTHING;
    },
    sort: row => row[name]?.[0] ?? null
  });
  const columns: Record<string, Unnamed> = {
    name: {
      title: 'Candidate',
      cell: row => ({ value: row.name }),
      sort: row => row.name
    },
    change: {
      title: `Change, ${unit}`,
      cell: row =>
        row.isBaseline ? { value: '0.00', title: 'The original model' } : row.change ? points(row.change) : NOTHING,
      sort: row => row.change?.[0] ?? null
    },
    latency: {
      title: 'p50, ms',
      cell: row => (row.p50 ? milliseconds(row.p50) : NOTHING),
      sort: row => row.p50?.[0] ?? null
    },
    speedup: {
      title: 'Speed-up',
      cell: row =>
        row.isBaseline ? { value: 'baseline' } : row.speedup ? { ...ratio(row.speedup), title: row.parts } : NOTHING,
      sort: row => row.speedup?.[0] ?? null
    },
    technique: {
      title: 'vs float32, same runtime',
      cell: row => (row.sameRuntime ? { ...ratio(row.sameRuntime), title: row.parts } : NOTHING),
      sort: row => row.sameRuntime?.[0] ?? null
    },
    size: kB('Size', row => row.size),
    compressed: kB('Gzip', row => row.compressed),
    memory: {
      title: 'Memory, MB',
      cell: row => one(row.memory, megabytes),
      sort: row => row.memory
    },
    p90: ms('p90', row => row.p90),
    p99: ms('p99', row => row.p99, 'Too few runs to estimate the 99th percentile: fewer than ten lie above it.'),
    cpu: ms('CPU', row => row.cpu),
    load: over('Load, ms', 'load'),
    coldLoad: over('Load from disk, ms', 'coldLoad'),
    first: over('First inference, ms', 'first'),
    throughput: over('Examples/s', 'throughput'),
    tokens: over('Tokens/s', 'tokens'),
    energy: over('Energy, mJ each', 'energy'),
    score: {
      title: share ? `${metric}, %` : metric,
      cell: row => one(row.score, value => score(value, !share)),
      sort: row => row.score
    },
    agreement: {
      title: 'Agreement, %',
      cell: row => one(row.agreement, value => fixed(100 * value, 2)),
      sort: row => row.agreement
    },
    flips: {
      title: 'Flips',
      cell: row => one(row.flips, thousands),
      sort: row => row.flips
    },
    seconds: {
      title: 'Time taken, s',
      cell: row => ({
        ...one(row.seconds, value => fixed(value, 1)),
        title: 'Time to build, evaluate and time this candidate. Steps shared with other candidates count in full.'
      }),
      sort: row => row.seconds
    },
    key: { title: 'Key', cell: row => ({ value: row.key }), sort: row => row.key }
  };
  return new Map(Object.entries(columns).map(([name, column]) => [name, { name, ...column }]));
}

/** Rows whose texts are measured, beside the smallest and the largest: all would take longer than drawing them. */
const SAMPLE = 60;
/** Width of what is neither digit nor letter, in that of a digit. */
const SIGN = 0.6;
/** Width of a mathematical sign. */
const WIDE = 1.35;

/** Length of a text in digits. */
export function lengthOf(text: string): number {
  const signs = text.match(/[\s.,:[\]-]/g)?.length ?? 0;
  const wide = text.match(/[±−×]/g)?.length ?? 0;
  return text.length - (1 - SIGN) * signs + (WIDE - 1) * wide;
}

/** Rows of a column, few of them where there are many, but those with its ends. */
export function measured(column: IColumn, rows: readonly IRow[]): Iterable<IRow> {
  if (rows.length <= SAMPLE) {
    return rows;
  }
  const found = new Set<IRow>();
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  let ends: [IRow?, IRow?] = [];
  const step = Math.floor(rows.length / SAMPLE);
  rows.forEach((row, at) => {
    if (at % step === 0) {
      found.add(row);
    }
    const value = column.sort(row);
    if (typeof value === 'number') {
      ends = [value < least ? row : ends[0], value > most ? row : ends[1]];
      [least, most] = [Math.min(least, value), Math.max(most, value)];
    }
  });
  for (const row of ends) {
    if (row) {
      found.add(row);
    }
  }
  return found;
}

function one(value: number | null, shown: (value: number) => string): ICell {
  return value === null ? NOTHING : { value: shown(value) };
}

/** Sorted; unknown values last, failed candidates after them; of equal ones those on the front first. */
export function sorted(
  rows: readonly IRow[],
  column: IColumn,
  descending: boolean,
  isStrong: (row: IRow) => boolean
): IRow[] {
  const sign = descending ? -1 : 1;
  const keyed = rows.map(row => ({
    row,
    key: column.sort(row),
    failed: row.status === 'failed',
    strong: isStrong(row)
  }));
  keyed.sort((a, b) => {
    if (a.failed !== b.failed) {
      return a.failed ? 1 : -1;
    }
    if (a.key === null || b.key === null) {
      return a.key === b.key ? 0 : a.key === null ? 1 : -1;
    }
    const order = typeof a.key === 'string' ? byName(a.key, String(b.key)) : a.key - Number(b.key);
    return sign * order || Number(b.strong) - Number(a.strong);
  });
  return keyed.map(({ row }) => row);
}

/** A row for a spreadsheet: names and values at full precision, with tabs between them. */
export function rowAsText(row: IRow): string {
  const flat: [string, unknown][] = [
    ['key', row.key],
    ['candidate', row.name],
    ['where', row.where],
    ['status', row.status],
    ['score', row.score],
    ...spread('change', row.change),
    ...spread('p50_ms', row.p50),
    ['p90_ms', row.p90],
    ['p99_ms', row.p99],
    ...spread('speedup', row.speedup),
    ...spread('load_ms', row.load),
    ...spread('cold_load_ms', row.coldLoad),
    ...spread('first_ms', row.first),
    ...spread('throughput', row.throughput),
    ...spread('tokens_per_second', row.tokens),
    ...spread('energy_mj', row.energy),
    ['size_bytes', row.size],
    ['compressed_bytes', row.compressed],
    ['peak_memory_bytes', row.memory],
    ['badges', row.badges.join(', ')],
    ['cause', row.failure?.cause ?? ''],
    ['remedy', row.failure?.remedy ?? '']
  ];
  const line = (values: unknown[]): string =>
    values.map(value => String(value ?? '').replaceAll(/\s+/g, ' ')).join('\t');
  return `${line(flat.map(([name]) => name))}\n${line(flat.map(([, value]) => value))}`;
}

function spread(name: string, interval: Interval | null): [string, unknown][] {
  return ['', '_low', '_high'].map((end, place) => [`${name}${end}`, interval?.[place] ?? null]);
}
