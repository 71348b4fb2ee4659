/** What stands side by side: charts with the same axes, each with its own front, and a table with a line for each. */

import { type ReactElement, type ReactNode, useMemo } from 'react';
import type { IRow } from '../rows';
import { useView } from '../store';
import { useScene } from '../tradeoff/scene';
import { Plot } from './plot';
import { plotsOf } from './plots';

export interface ISide {
  key: string;
  title: string;
  rows: readonly IRow[];
}

/** One chart for each side, of what the legend has not switched off. */
export function Plots({ sides }: { sides: readonly ISide[] }): ReactElement | null {
  const { x, y } = useScene();
  const hiddenRuntimes = useView(view => view.hiddenRuntimes);
  const hiddenFamilies = useView(view => view.hiddenFamilies);
  const plots = useMemo(() => {
    const shown = (row: IRow): boolean => !hiddenRuntimes.includes(row.runtime) && !hiddenFamilies.includes(row.family);
    const rows = sides.map(side => side.rows.filter(shown));
    return plotsOf(rows, x, y);
  }, [sides, x, y, hiddenRuntimes, hiddenFamilies]);
  return (
    plots && (
      <div className="dk-beside-plots">
        {sides.map(({ key, title }, at) => (
          <Plot key={key} title={title} dots={plots.sides[at] ?? []} x={plots.x} y={plots.y} />
        ))}
      </div>
    )
  );
}

/** A table that scrolls; its lines are the children. */
export function Lines({
  label,
  headers,
  children
}: {
  label: string;
  headers: readonly string[];
  children: ReactNode;
}): ReactElement {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls can be scrolled by keys
    <section className="dk-beside-table" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {headers.map(title => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </section>
  );
}
