/** What only the browser knows: selection, filters, sorting. */

/** A range of an axis that was dragged over in the chart. */
export interface IRange {
  /** Name of the measure: see `measures.ts`. */
  measure: string;
  low: number;
  high: number;
}

export interface IView {
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
  /** Measures of the chart's axes: x is a cost, y a quality. */
  x: string;
  y: string;
  sort: { column: string; descending: boolean };
  /** Columns beside the usual ones. */
  columns: readonly string[];
  /** Show failed rows alone. */
  failedOnly: boolean;
  codeOpen: boolean;
  /** Layer that was selected in a table, chart or graph. */
  layer: string;
}

export const VIEW: IView = {
  a: '',
  b: '',
  hovered: '',
  brush: [],
  hiddenRuntimes: [],
  hiddenFamilies: [],
  x: 'latency',
  y: 'change',
  sort: { column: 'latency', descending: false },
  columns: [],
  failedOnly: false,
  codeOpen: false,
  layer: ''
};
