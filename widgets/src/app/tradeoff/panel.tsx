/** Trade-off: the goal, the best so far, the chart and the table. */

import type { ReactElement } from 'react';
import { Beside } from '../beside/beside';
import { Chart } from '../chart/chart';
import { Problem, usePanelProblem } from '../elements/parts';
import { Parallel } from '../settings/parallel';
import { useRows, useSection, useView } from '../store';
import { Table } from '../table/table';
import { Empty } from './empty';
import { Best, Goal } from './goal';
import { Legend } from './legend';
import { Looks } from './looks';
import type { IMeasure } from './measures';
import { SceneProvider } from './scene';

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

export default function TradeoffPanel(): ReactElement | null {
  const tradeoff = useSection('tradeoff');
  const problem = usePanelProblem('tradeoff');
  const look = useView(view => view.look);
  const empty = useRows().size === 0;
  if (tradeoff === undefined) {
    return null;
  }
  return (
    <SceneProvider tradeoff={tradeoff}>
      <Goal tradeoff={tradeoff} />
      <Problem words={problem} />
      {empty ? (
        <Empty />
      ) : (
        <>
          <Best tradeoff={tradeoff} />
          <div className="dk-looks-row">
            <Looks />
            <Legend />
          </div>
          {look === 'settings' ? <Parallel /> : look === 'beside' ? <Beside /> : <Chart />}
          <Table />
        </>
      )}
    </SceneProvider>
  );
}
