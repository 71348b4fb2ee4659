/** Another store beside this one: two charts with the same axes, never one front, and what changed. */

import { type FormEvent, type KeyboardEvent, type ReactElement, useId, useMemo, useState } from 'react';
import type { IAxis } from '../chart/axes';
import { outlineOf } from '../elements/icons';
import { Button, Note, Problem, useAnswer, Waiting } from '../elements/parts';
import type { IRow } from '../rows';
import { useBench, useView } from '../store';
import { useScene } from '../tradeoff/scene';
import { type IDot, plotsOf } from './plots';

interface ICompared {
  name: string;
  summary: string;
  notes: string[];
  headers: string[];
  rows: IRow[];
  pairs: { key: string; cells: string[] }[];
}

declare module '../protocol' {
  interface ISections {
    /** Empty: that it is there has the view offered. */
    beside: Record<string, never>;
  }
}

export function Beside(): ReactElement {
  const bench = useBench();
  const offered = useAnswer<string[]>('stores', {}).answer?.value ?? [];
  const path = useView(view => view.beside);
  const [entered, setTyped] = useState<string | null>(null);
  const typed = entered ?? (path || (offered[0] ?? ''));
  const { answer, busy, error, again } = useAnswer<ICompared>('beside', { path }, path !== '');
  const id = useId();
  const open = (event: FormEvent | KeyboardEvent): void => {
    event.preventDefault();
    if (typed.trim() === '') {
      return;
    }
    if (typed.trim() === path) {
      again();
    } else {
      bench.look({ beside: typed.trim() });
    }
  };
  return (
    <div className="dk-beside">
      <form className="dk-beside-form" onSubmit={open}>
        <label htmlFor={`${id}-path`}>Other store</label>
        <input
          id={`${id}-path`}
          className="dk-input"
          list={`${id}-offered`}
          value={typed}
          placeholder="runs/yesterday"
          onChange={event => setTyped(event.target.value)}
          onKeyDown={event => {
            if (event.key === 'Enter') {
              open(event); // an open list of proposals keeps the key from the form
            }
          }}
        />
        <datalist id={`${id}-offered`}>
          {offered.map(name => (
            <option key={name} value={name} />
          ))}
        </datalist>
        <Button type="submit" reason={typed.trim() ? '' : 'Enter the folder of the other sweep.'}>
          {path && typed.trim() === path ? 'Compare again' : 'Compare'}
        </Button>
      </form>
      <Problem words={error} />
      {busy && <Waiting what="reading the other store" />}
      {answer ? (
        <Compared compared={answer.value} />
      ) : (
        !busy &&
        !error && <Note>Enter the folder of another sweep, such as one from yesterday or from another machine.</Note>
      )}
    </div>
  );
}

function Compared({ compared }: { compared: ICompared }): ReactElement {
  const { rows, x, y } = useScene();
  const hiddenRuntimes = useView(view => view.hiddenRuntimes);
  const hiddenFamilies = useView(view => view.hiddenFamilies);
  const plots = useMemo(() => {
    const shown = (row: IRow): boolean => !hiddenRuntimes.includes(row.runtime) && !hiddenFamilies.includes(row.family);
    return plotsOf([...rows.values()].filter(shown), compared.rows.filter(shown), x, y);
  }, [rows, compared, x, y, hiddenRuntimes, hiddenFamilies]);
  return (
    <>
      <p className="dk-beside-summary">
        <b>{compared.summary}</b>
      </p>
      <ul className="dk-beside-notes">
        {compared.notes.map(note => (
          <li key={note}>{note}</li>
        ))}
      </ul>
      {plots && (
        <div className="dk-beside-plots">
          <Plot title="This store" dots={plots.sides[0]} x={plots.x} y={plots.y} />
          <Plot title={compared.name} dots={plots.sides[1]} x={plots.x} y={plots.y} />
        </div>
      )}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls can be scrolled by keys */}
      <section className="dk-beside-table" aria-label="Candidates in both stores" tabIndex={0}>
        <table>
          <thead>
            <tr>
              {compared.headers.map(title => (
                <th key={title} scope="col">
                  {title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {compared.pairs.map(({ key, cells }) => (
              <Pair key={key} of={key} cells={cells} />
            ))}
          </tbody>
        </table>
      </section>
    </>
  );
}

function Pair({ of, cells }: { of: string; cells: readonly string[] }): ReactElement {
  const bench = useBench();
  const hovered = useView(view => view.hovered === of);
  return (
    <tr
      className={hovered ? 'dk-beside-at' : ''}
      onPointerEnter={() => bench.look({ hovered: of })}
      onPointerLeave={() => bench.look({ hovered: '' })}
    >
      {cells.map((cell, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: cells have places, and nothing else
        <td key={at}>{cell}</td>
      ))}
    </tr>
  );
}

const SIZE = { width: 340, height: 250, left: 46, right: 8, top: 8, bottom: 38 };

function Plot({ title, dots, x, y }: { title: string; dots: readonly IDot[]; x: IAxis; y: IAxis }): ReactElement {
  const bench = useBench();
  const { rows, select, colorOf } = useScene();
  const hovered = useView(view => view.hovered);
  const atX = (share: number): number => SIZE.left + share * (SIZE.width - SIZE.left - SIZE.right);
  const atY = (share: number): number => SIZE.height - SIZE.bottom - share * (SIZE.height - SIZE.top - SIZE.bottom);
  const [left, right, bottom, top] = [atX(0), atX(1), atY(0), atY(1)];
  const of = (axis: IAxis, tick: number): number => (tick - axis.low) / (axis.high - axis.low);
  const front = dots.filter(dot => dot.strong).length;
  return (
    <figure className="dk-beside-plot">
      <figcaption>{title}</figcaption>
      <svg
        viewBox={`0 0 ${SIZE.width} ${SIZE.height}`}
        role="img"
        aria-label={`${title}: ${dots.length} candidates, ${front} on the front or tied with it. The table below has them.`}
      >
        {x.ticks.map((tick, at) => (
          <g key={tick}>
            <line className="dk-beside-grid" x1={atX(of(x, tick))} x2={atX(of(x, tick))} y1={top} y2={bottom} />
            <text x={atX(of(x, tick))} y={bottom + 14} textAnchor="middle">
              {x.labels[at]}
            </text>
          </g>
        ))}
        {y.ticks.map((tick, at) => (
          <g key={tick}>
            <line className="dk-beside-grid" x1={left} x2={right} y1={atY(of(y, tick))} y2={atY(of(y, tick))} />
            <text x={left - 5} y={atY(of(y, tick)) + 4} textAnchor="end">
              {y.labels[at]}
            </text>
          </g>
        ))}
        <text x={(left + right) / 2} y={SIZE.height - 6} textAnchor="middle">
          {x.title}
        </text>
        <text transform={`translate(10 ${(top + bottom) / 2}) rotate(-90)`} textAnchor="middle">
          {y.measure.label}
          {y.measure.unit && `, ${y.measure.unit}`}
        </text>
        {[...dots]
          .sort((one, other) => Number(one.strong) - Number(other.strong))
          .map(dot => {
            const { key, mark, runtime } = dot.row;
            const color = `var(--dk-c${colorOf(runtime)})`;
            return (
              // biome-ignore lint/a11y/noStaticElementInteractions: the table has the keys
              <g
                key={key}
                stroke={color}
                opacity={dot.strong || hovered === key ? 1 : 0.5}
                onPointerEnter={() => bench.look({ hovered: key })}
                onPointerLeave={() => bench.look({ hovered: '' })}
                onClick={event => rows.has(key) && select(event.shiftKey ? 'b' : 'a', key)}
              >
                <title>{`${dot.row.name} on ${dot.row.where}`}</title>
                <line x1={atX(dot.across[0])} x2={atX(dot.across[1])} y1={atY(dot.y)} y2={atY(dot.y)} />
                <line x1={atX(dot.x)} x2={atX(dot.x)} y1={atY(dot.up[0])} y2={atY(dot.up[1])} />
                <path
                  d={outlineOf(mark)}
                  transform={`translate(${atX(dot.x) - 6} ${atY(dot.y) - 6})`}
                  fill={dot.strong ? color : 'var(--dk-surface)'}
                  strokeWidth={1.4}
                />
                {hovered === key && <circle className="dk-beside-ring" cx={atX(dot.x)} cy={atY(dot.y)} r={9} />}
              </g>
            );
          })}
      </svg>
    </figure>
  );
}
