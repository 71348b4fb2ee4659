/** What the kernel tells of a candidate, and what is made of it before it is drawn; see deploykit_widgets/evidence/candidate.py. */

import {
  amount,
  beside,
  DASH,
  type IShown,
  kilobytes,
  megabytes,
  milliseconds,
  minus,
  points,
  ratio,
  score
} from '../format';
import type { IPlace } from '../host';
import type { Interval } from '../protocol';
import type { IRow } from '../rows';

export interface ICandidate {
  /** Key of the best so far, "" when there is none. */
  best: string;
  baseline: string;
  /** Name of the metric for people. */
  metric: string;
  /** Whether changes are relative (errors), not differences (accuracies). */
  relative: boolean;
  /** The user's limit, percentage points or percent. */
  limit?: number;
  /** The level that is being measured layer by layer. */
  measuring: { level: number; label: string; done: number; total: number } | null;
  /** How many recipes were added one by one. */
  added: number;
}

export interface ILayerCost {
  layer: string;
  /** Names it is known by in graphs. */
  names: string[];
  operator: string;
  kernel: string;
  /** Microseconds; null in an estimate. */
  before: number | null;
  after: number | null;
  state: 'kept' | 'added' | 'gone';
  quantized: boolean;
  fallback: string;
  /** Share of the whole in an estimate, 0 to 1. */
  share: number | null;
}

export interface IWhy {
  cause: string;
  note: string;
  remedy: string;
  estimate: boolean;
  before: number;
  after: number;
  rows: ILayerCost[];
  rest: { count: number; before: number; after: number; share: number };
}

export interface IFacts {
  verdict: { kind: string; headline: string; detail: string; tone: 'good' | 'bad' | 'neutral' };
  compare: string;
  why: IWhy | null;
}

/** An answer and its confidence; null where answers are numbers. */
export type Guess = [name: string, confidence: number | null];

export interface IFlip {
  example: number;
  group: string;
  label: string;
  before: string;
  after: string;
  lost: number;
  topBefore: Guess[];
  topAfter: Guess[];
  /** Place of the picture among the bytes, -1 without one. */
  picture: number;
  width: number;
  height: number;
  cells: string[];
}

export interface IFlips {
  summary: string;
  classes: boolean;
  labelled: boolean;
  examples: number;
  scores: string;
  derived: boolean;
  against: string;
  groups: { name: string; count: number }[];
  total: number;
  offset: number;
  rows: IFlip[];
}

export interface ISample {
  picture: number;
  width: number;
  height: number;
  cells: string[];
}

export interface ITried {
  before: Guess[];
  after: Guess[];
}

export interface IClasses {
  rows: {
    name: string;
    examples: number;
    before: number;
    after: number;
    change: Interval;
    better: number;
    worse: number;
    sure: boolean;
  }[];
  summary: string;
  /** Why there are none. */
  reason: string;
}

export interface ICalibration {
  rows: {
    side: 'before' | 'after';
    /** Ends of the bin, 0 to 1. */
    low: number;
    high: number;
    examples: number;
    /** Mean confidence of its examples. */
    confidence: number;
    /** Share of them that is right. */
    accuracy: Interval;
  }[];
  summary: string;
  /** Why there are none. */
  reason: string;
}

export interface IRests {
  summary: string;
  /** The answer that is explained. */
  answer: string;
  /** Of the values of both models; null where one's are all the same. */
  correlation: number | null;
  /** What other masks alone leave of it. */
  floor: number | null;
  /** Absolute value with the full color. */
  largest: number;
  /** The models in words, one for each of the pictures. */
  maps: string[];
  /** Part, what it adds, and what it adds in the model before. */
  rows: [string, number, number][];
}

export interface ITensor {
  name: string;
  layer: string;
  shape: number[];
  stored: string;
  scaled: boolean;
  count: number;
  zeros: number;
  deviation: number;
  low: number;
  high: number;
  histogram: number[];
}

export interface IWeights {
  summary: string;
  notes: string[];
  before: string;
  /** Layers that have lost channels, in order, with the ends of their names. */
  channels: { layer: string; name: string; before: number; after: number }[];
  rows: { layer: string; before: ITensor | null; after: ITensor | null; matched: string; edges: [number, number] }[];
}

type Pair = [string, string];

export interface IRecipe {
  steps: { name: string; parameters: Pair[] }[];
  notes: Pair[];
  file: Pair[];
  machine: Pair[];
  packages: Pair[];
  suggested: string[];
}

export interface IFile extends IPlace {
  /** The path for people. */
  shown: string;
  folder: boolean;
  /** `original · TFLite`, or the candidate in words. */
  title: string;
}

/** Null where there is no file any more. */
export interface IGraphs {
  /** The original model. */
  given: IFile | null;
  /** The original model, in the candidate's format. */
  before: IFile | null;
  after: IFile | null;
}

export type DiffState = 'same' | 'changed' | 'added' | 'removed' | 'fused';

/** One side of a node in the diff of two graphs. */
export interface IDiffNode {
  name: string;
  operator: string;
  /** Null where it is not known; null in place of the number of examples. */
  shape: (number | null)[] | null;
  /** Name, dimensions and type of each constant. */
  weights: [string, string, string][];
  attributes: Pair[];
}

export interface IDiffRow {
  state: DiffState;
  /** Of the candidate's node, or the original's where the candidate has none. */
  name: string;
  operator: string;
  before: IDiffNode | null;
  after: IDiffNode | null;
  matched: '' | 'name' | 'weights' | 'layer' | 'structure' | 'order';
  changes: string[];
  /** The node that a fused one has gone into. */
  into: string;
  /** Places of the rows whose outputs it reads. */
  reads: number[];
  /** Relative L2 error of its output; null where nothing can be compared. */
  error: number | null;
  snr: number | null;
  /** What of the error comes in at this node. */
  own: number | null;
  /** Lowest and highest number of the candidate's tensor. */
  range: [number, number] | null;
  /** Share of the original's numbers beyond it. */
  saturated: number | null;
  /** Whether a recipe can leave the node in float. */
  float: boolean;
  /** Channels that the error leaves out. */
  leftOut: number;
  /** Microseconds before and after. */
  times: [number | null, number | null];
}

export interface IDiff {
  summary: string;
  notes: string[];
  before: string;
  after: string;
  counts: [DiffState, number][];
  rows: IDiffRow[];
}

export interface ICell {
  drop: Interval | null;
  fidelity: Interval | null;
  problem: string;
  /** Whether the technique's name for the layer is known, so that it can be left out. */
  known: boolean;
  added: boolean;
}

export interface ILevel {
  label: string;
  /** The technique, with which the label begins. */
  group: string;
  measured: boolean;
  seconds: number | null;
}

export interface ISensitivity {
  levels: ILevel[];
  layers: string[];
  cells: ICell[][];
  relative: boolean;
}

// -- numbers -----------------------------------------------------------------------------------------------------------

export interface INumberRow {
  label: string;
  cells: IShown[];
}

/** What a measure is called, and what is shown of a candidate. */
type Measure = [string, (row: IRow) => IShown];

/**
 * The numbers of candidates side by side, one row for each measure.
 *
 * @param columns The baseline first; null where nothing is selected.
 */
export function numbersOf(columns: readonly (IRow | null)[], metric: string, relative: boolean): INumberRow[] {
  const name = metric ? metric[0]?.toUpperCase() + metric.slice(1) : 'Metric';
  const ms = (row: IRow, value: number | null): IShown => only(value, v => beside(v, row.p50));
  const tokens: Measure = ['Tokens/s', row => (row.tokens ? amount(row.tokens) : UNKNOWN)];
  const rows: Measure[] = [
    [relative ? name : `${name}, %`, row => only(row.score, v => score(v, relative))],
    [
      relative ? 'Change, %' : 'Change, pp',
      row => (row.isBaseline ? NOTHING : row.change ? points(row.change) : UNKNOWN)
    ],
    ['p50, ms', row => (row.p50 ? milliseconds(row.p50) : UNKNOWN)],
    ['Speed-up', row => (row.isBaseline || !row.speedup ? NOTHING : ratio(row.speedup))],
    ['vs float32, same runtime', row => (row.sameRuntime ? ratio(row.sameRuntime) : NOTHING)],
    ['p99, ms', row => ms(row, row.p99)],
    ['CPU, ms', row => ms(row, row.cpu)],
    ...(columns.some(row => row?.tokens) ? [tokens] : []),
    ['File, kB', row => only(row.size, kilobytes)],
    ['Gzip, kB', row => only(row.compressed, kilobytes)],
    ['Memory, MB', row => only(row.memory, megabytes)]
  ];
  return rows.map(([label, cell]) => ({ label, cells: columns.map(row => (row ? cell(row) : NOTHING)) }));
}

const NOTHING: IShown = { value: '', around: '' };
const UNKNOWN: IShown = { value: DASH, around: '' };

function only(value: number | null | undefined, show: (value: number) => string): IShown {
  return value === null || value === undefined ? UNKNOWN : { value: show(value), around: '' };
}

// -- layers ------------------------------------------------------------------------------------------------------------

/** Names without what formats put around them, for comparing those of two files. */
function plainName(name: string): string {
  return name
    .replace(/:\d+$/, '')
    .replace(/_(quant|quantized|QuantizeLinear|DequantizeLinear)$/i, '')
    .toLowerCase();
}

/** Whether two layers are the same one by any of their names: whole, or the end of a longer path. */
export function sameLayer(one: readonly string[], other: readonly string[]): boolean {
  // A fused operator of TFLite has the names of all that went into it.
  const parts = (names: readonly string[]): string[] => names.flatMap(name => name.split(';')).filter(Boolean);
  const left = parts(one).map(plainName);
  const right = parts(other).map(plainName);
  return left.some(a => right.some(b => a === b || a.endsWith(`/${b}`) || b.endsWith(`/${a}`)));
}

/** `118 → 30 µs`; below ten microseconds with a decimal. */
export function microseconds(before: number | null, after: number | null): string {
  const largest = Math.max(before ?? 0, after ?? 0);
  const digits = largest < 10 ? 1 : 0;
  return `${(before ?? 0).toFixed(digits)} → ${(after ?? 0).toFixed(digits)} µs`;
}

// -- sensitivity -------------------------------------------------------------------------------------------------------

/** Neighboring levels of one technique, with what tells them apart. */
export function groups(levels: readonly ILevel[]): { name: string; levels: { place: number; words: string }[] }[] {
  const found: { name: string; levels: { place: number; words: string }[] }[] = [];
  for (const [place, { label, group }] of levels.entries()) {
    const words = label.startsWith(group) ? label.slice(group.length).trim() : label;
    const last = found.at(-1);
    if (last?.name === group) {
      last.levels.push({ place, words });
    } else {
      found.push({ name: group, levels: [{ place, words }] });
    }
  }
  return found;
}

/** Depth of a cell's color, 0 to 1: square-root steps, shared by all columns. */
export function depth(loss: number, largest: number): number {
  return largest > 0 && loss > 0 ? Math.sqrt(Math.min(1, loss / largest)) : 0;
}

/** Whether a loss may be none: its interval holds zero. */
export function withinNoise(interval: Interval): boolean {
  return interval[1] <= 0 && interval[2] >= 0;
}

/** Percentage points (or percent) that are lost, with the digits that tell something. */
export function lost(interval: Interval): string {
  const value = 100 * interval[0];
  return minus(Math.abs(value) < 0.005 ? '0' : value.toFixed(2));
}

/** `40 s`, `3 min`. */
export function about(seconds: number): string {
  if (seconds >= 90) {
    return `${Math.round(seconds / 60)} min`;
  }
  return `${Math.max(1, seconds < 10 ? Math.round(seconds) : 5 * Math.round(seconds / 5))} s`;
}

// -- weights -----------------------------------------------------------------------------------------------------------

/**
 * Outline of a histogram as an SVG path in a box of the given size; square-root heights, so that a spike at zero does
 * not flatten the rest.
 */
export function outline(counts: readonly number[], width: number, height: number): string {
  const most = Math.sqrt(Math.max(1, ...counts));
  const step = width / Math.max(1, counts.length);
  const at = (count: number): number => height - (Math.sqrt(count) / most) * height;
  const tops = counts.map((count, i) => `L${round(i * step)} ${round(at(count))}H${round((i + 1) * step)}`);
  return `M0 ${height}${tops.join('')}L${round(width)} ${height}Z`;
}

function round(value: number): number {
  return Math.round(100 * value) / 100;
}
