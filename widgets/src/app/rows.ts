/** A candidate as the kernel sends it: raw numbers, and words for what is not a number. */

import type { Interval } from './protocol';

export interface IFailure {
  cause: string;
  remedy: string;
  log: string;
}

export interface IRow {
  key: string;
  /** The recipe in words, steps joined by arrows. */
  name: string;
  runtime: string;
  /** Runtime, and device, threads and batch where they are not the usual ones. */
  where: string;
  device: string;
  threads: number;
  batch: number;
  family: string;
  /** What its point looks like: a symbol's name in Vega. */
  mark: string;
  /** Without what is unknown: which candidate is at work just now. */
  status: 'planned' | 'built' | 'measured' | 'failed' | 'stopped';
  isBaseline: boolean;
  /** `front` and `tied` are filled; `beaten` and `screened` (its interval is not final) hollow; '' is not measured. */
  state: 'front' | 'tied' | 'beaten' | 'screened' | '';
  /** Why it is filled or hollow, in words. */
  why: string;
  /** Whether it was timed on the baseline's hardware; others are not compared. */
  compared: boolean;
  badges: string[];
  /** Quality, in the metric's unit (an accuracy is a share of one). */
  score: number | null;
  /** Further metrics by name. */
  scores: Record<string, number>;
  /** Change against the baseline, percentage points for shares and percent for errors; its measure says which way is better. */
  change: Interval | null;
  /** Milliseconds. */
  p50: Interval | null;
  p90: number | null;
  p99: number | null;
  cpu: number | null;
  /** Ratios against the baseline, and against float32 on the same runtime. */
  speedup: Interval | null;
  sameRuntime: Interval | null;
  /** The speed-up in words, what the move to another runtime gives apart; empty for the baseline. */
  parts: string;
  /** Bytes. */
  size: number | null;
  compressed: number | null;
  memory: number | null;
  /** Milliseconds: opening the file from the system's cache and from the disk, and the first inference. */
  load: Interval | null;
  coldLoad: Interval | null;
  first: Interval | null;
  /** Examples per second. */
  throughput: Interval | null;
  /** Tokens per second that a decoder writes. */
  tokens: Interval | null;
  /** Millijoules per example. */
  energy: Interval | null;
  /** Why one of these cannot be measured here. */
  missing: { coldLoad?: string; energy?: string };
  /** Share of examples with the original's answer. */
  agreement: number | null;
  /** Examples whose answer differs from the original's. */
  flips: number | null;
  /** Work to build and measure it; what it shares with others counts in full. Unknown in older stores. */
  seconds: number | null;
  /** Its settings by `technique.parameter`, its family and where it runs; what it does not use is missing. */
  settings: Record<string, number | string>;
  /** Its timing launches. */
  launches: number;
  /** Why it was given up early; empty when it was not. */
  stopped: string;
  failure: IFailure | null;
}
