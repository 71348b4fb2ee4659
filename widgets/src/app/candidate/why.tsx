/** Why a candidate is faster or slower: the cause in a line, and the time of each layer before and after. */

import { type ReactElement, useState } from 'react';
import { Button, Note, Part, Problem, useAsk } from '../elements/parts';
import { percent } from '../format';
import { graphTitle, located, OUTSIDE, openGraph } from '../graphs';
import { host } from '../host';
import { useBench, useView } from '../store';
import { type IGraphs, type ILayerCost, type IWhy, microseconds, sameLayer } from './facts';
import { showLayer } from './layers';
import type { ISubject } from './parts';

const FEW = 5;

export function Why({ why, kind, subject }: { why: IWhy; kind: string; subject: ISubject }): ReactElement {
  const [all, setAll] = useState(false);
  const { open, error } = useGraph(subject.keyOf, subject.letter);
  const shown = all ? why.rows : why.rows.slice(0, FEW);
  const largest = Math.max(...why.rows.map(row => Math.max(row.share ?? row.before ?? 0, row.after ?? 0)), 1e-9);
  return (
    <div>
      <Part
        title={
          why.estimate || why.rows.length === 0
            ? `Where the time of ${subject.letter} goes`
            : titleOf(kind, subject.letter)
        }
        aside={
          host().openFile && (
            <Button kind="quiet" icon="graph" onClick={() => void open('')}>
              Graph
            </Button>
          )
        }
      >
        {why.cause && <p className="dk-why-cause">{why.cause}</p>}
        {why.note && <Note>{why.note}</Note>}
        {shown.length > 0 && (
          <table className={`dk-why ${why.estimate ? 'dk-why-estimate' : ''}`}>
            <caption className="dk-unseen">
              {why.estimate
                ? 'Estimated share of time of each layer'
                : 'Time of each layer, float32 and this candidate'}
            </caption>
            <thead className="dk-unseen">
              <tr>
                <th scope="col">Layer</th>
                <th scope="col">Bars</th>
                <th scope="col">{why.estimate ? 'Share' : 'Before and after'}</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((row, place) => (
                <LayerRow
                  // biome-ignore lint/suspicious/noArrayIndexKey: names need not be unique, the order is fixed
                  key={`${place} ${row.layer}`}
                  row={row}
                  largest={largest}
                  onOpen={open}
                />
              ))}
            </tbody>
          </table>
        )}
        {why.rows.length > FEW && (
          <Button kind="link" aria-expanded={all} onClick={() => setAll(!all)}>
            {all ? `Show the ${FEW} largest differences` : `Show all ${why.rows.length + why.rest.count} layers`}
          </Button>
        )}
        {all && why.rest.count > 0 && (
          <Note>
            {why.rest.count} more:{' '}
            {why.estimate ? percent(why.rest.share) : microseconds(why.rest.before, why.rest.after)}
          </Note>
        )}
        {why.remedy && <Note>{why.remedy}</Note>}
        <Problem words={error} />
      </Part>
    </div>
  );
}

function titleOf(kind: string, letter: string): string {
  if (['faster', 'maybe inside', 'outside', 'target missed'].includes(kind)) {
    return `Why ${letter} is faster`;
  }
  return kind === 'slower' ? `Why ${letter} is slower` : `Where the time of ${letter} goes`;
}

function LayerRow({
  row,
  largest,
  onOpen
}: {
  row: ILayerCost;
  largest: number;
  onOpen: (layer: string) => Promise<void>;
}): ReactElement {
  const bench = useBench();
  const selected = useView(view => sameLayer([row.layer, ...row.names], view.layer));
  const name = row.names[0] ?? row.layer;
  const width = (value: number | null): string => `${(100 * (value ?? 0)) / largest}%`;
  const select = (): void => {
    bench.look({ layer: [row.layer, ...row.names] });
    void onOpen(name);
  };
  return (
    <>
      <tr className={selected ? 'dk-why-selected' : undefined} aria-selected={selected || undefined}>
        <th scope="row" className="dk-why-layer">
          <span className="dk-why-cell">
            <button
              type="button"
              className="dk-why-name"
              title={`${row.layer} (${row.operator}): show in the graph`}
              onClick={select}
            >
              {row.layer}
            </button>
            {row.state === 'added' && <span className="dk-badge">added</span>}
            {row.state === 'gone' && <span className="dk-badge">gone</span>}
          </span>
        </th>
        <td aria-hidden="true" className="dk-why-bars">
          {(row.share ?? row.before) !== null && (
            <span className="dk-why-before" style={{ width: width(row.share ?? row.before) }} />
          )}
          {row.after !== null && <span className="dk-why-after" style={{ width: width(row.after) }} />}
        </td>
        <td className="dk-n" title={row.kernel}>
          {row.share !== null ? percent(row.share) : microseconds(row.before, row.after)}
        </td>
      </tr>
      {row.fallback && (
        <tr>
          <td colSpan={3} className="dk-why-fallback">
            {row.fallback}
            {row.kernel && ` (${row.kernel})`}
          </td>
        </tr>
      )}
    </>
  );
}

/** Opens the graph of a candidate, and shows a layer in it. */
function useGraph(
  key: string,
  letter: string
): {
  open: (layer: string) => Promise<void>;
  error: string;
} {
  const { ask, error } = useAsk<IGraphs>();
  const [outside, setOutside] = useState('');
  const open = async (layer: string): Promise<void> => {
    setOutside('');
    if (host().locate === null) {
      return; // there are no graphs here; the layer is selected all the same
    }
    const answer = await ask('candidate_graphs', { key });
    if (answer === null) {
      return;
    }
    const file = answer.value.after;
    const path = file && (await located(file));
    if (file === null) {
      setOutside('The file of this candidate is no longer in the store. Run the same sweep again.');
    } else if (path === null) {
      setOutside(OUTSIDE);
    } else {
      await openGraph(path, file.folder, graphTitle(letter, file.title));
      if (layer) {
        showLayer(layer, path);
      }
    }
  };
  return { open, error: error || outside };
}
