/** Trade-off: the goal, the best so far, the chart and the table. */

import type { ReactElement } from 'react';
import { Beside } from '../beside/beside';
import { Chart } from '../chart/chart';
import { Devices } from '../devices/devices';
import { Problem, usePanelProblem } from '../elements/parts';
import { Parallel } from '../settings/parallel';
import { useRows, useSection, useView } from '../store';
import { Table } from '../table/table';
import type { Look } from '../view';
import { Empty } from './empty';
import { Best, Goal } from './goal';
import { Legend } from './legend';
import { Looks } from './looks';
import { SceneProvider } from './scene';

const OTHER: Partial<Record<Look, ReactElement>> = {
  settings: <Parallel />,
  devices: <Devices />,
  beside: <Beside />
};

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
          {OTHER[look] ?? <Chart />}
          <Table />
        </>
      )}
    </SceneProvider>
  );
}
