/** What only the browser knows: selection, filters, sorting. */

import type { Value } from './space/values';

/** A range of an axis that was dragged over in the chart. */
export interface IRange {
  /** Name of the measure: see `tradeoff/measures.ts`. */
  measure: string;
  low: number;
  high: number;
}

/** What stands in the chart's place. */
export type Look = 'chart' | 'settings' | 'devices' | 'beside';

/** Limits of the ranking of devices, as they were typed: empty where there is none. */
export interface ILimits {
  p50: string;
  energy: string;
  cost: string;
  /** An amount, or `cuda=2.5, cpu=0.17`. */
  price: string;
  /** Folders of sweeps on other machines. */
  stores: string;
}

export interface IView {
  look: Look;
  /** Folder of the store beside this one; empty while there is none. */
  beside: string;
  limits: ILimits;
  /** Keys of the compared candidates; A is empty while the best so far is followed. */
  a: string;
  b: string;
  /** Key under the pointer, in chart or table. */
  hovered: string;
  /** Ranges that were brushed; all of them must hold. */
  brush: readonly IRange[];
  /** Names of runtimes, and of families, that the legend has switched off. */
  hiddenRuntimes: readonly string[];
  hiddenFamilies: readonly string[];
  /** Measures of the chart's axes. */
  x: string;
  y: string;
  /** What the axes hold: what is usual, all points, or the front. */
  zoom: 'usual' | 'all' | 'front';
  /** Show the front alone, and what is tied with it. */
  frontOnly: boolean;
  sort: { column: string; descending: boolean };
  /** Columns beside the usual ones. */
  columns: readonly string[];
  /** Show failed rows alone. */
  failedOnly: boolean;
  codeOpen: boolean;
  /** Whether a notebook is about to be saved. */
  saving: boolean;
  /** Names of the folded parts that were opened. */
  folds: readonly string[];
  /** What was chosen for the next export in place of the kernel's proposals; of a folder, in place of which one. */
  exporting: {
    layout?: string;
    folder?: { typed: string; proposed: string };
    /** Layout → setting → its value, or what is typed in its place. */
    settings?: Readonly<Record<string, Readonly<Record<string, Value>>>>;
  };
  /** All names of the layer that was selected in a table, chart or graph; none while none is. */
  layer: readonly string[];
}

export const VIEW: IView = {
  look: 'chart',
  beside: '',
  limits: { p50: '', energy: '', cost: '', price: '', stores: '' },
  a: '',
  b: '',
  hovered: '',
  brush: [],
  hiddenRuntimes: [],
  hiddenFamilies: [],
  x: 'latency',
  y: 'change',
  zoom: 'usual',
  frontOnly: false,
  sort: { column: 'latency', descending: false },
  columns: [],
  failedOnly: false,
  codeOpen: false,
  saving: false,
  folds: [],
  exporting: {},
  layer: []
};
