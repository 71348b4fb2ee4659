/** What the kernel sends about the trade-off. */

import type { IMeasure } from './measures';

export interface IBest {
  key: string;
  name: string;
  where: string;
  /** `16.8× in total: 4.80× from TensorFlow → LiteRT, 3.50× from int8`; empty for the baseline. */
  speedup: string;
  met: boolean;
  /** `No candidate is confirmed to stay within 0.2 pp.`; empty when something does. */
  missed: string;
  /** `−0.31 ± 0.24 pp`. */
  change: string;
  /** How sure it is, with ties and with what tempts. */
  words: string;
  reason: string;
}

export interface ITradeoff {
  /** A share: 0.01 is one percentage point. */
  maxDrop: number;
  minimize: string;
  /** What can be minimized. */
  costs: { name: string; label: string }[];
  metric: string;
  /** Of changes: `pp` or `%`. */
  unit: string;
  /** Where the limit is on the axis of changes. */
  limit: number;
  measures: IMeasure[];
  /** The settings that distinguish candidates, in their order as axes. */
  settings: IMeasure[];
  /** The families of the candidates with their marks, in the order of the legend. */
  families: { name: string; mark: string }[];
  best: IBest | null;
}

declare module '../protocol' {
  interface ISections {
    tradeoff: ITradeoff;
  }
}
