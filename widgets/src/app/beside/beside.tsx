/** Another store beside this one: two charts with the same axes, never one front, and what changed. */

import { type FormEvent, type KeyboardEvent, type ReactElement, useId, useMemo, useState } from 'react';
import { Button, Note, Problem, useAnswer, Waiting } from '../elements/parts';
import type { IRow } from '../rows';
import { useBench, useView } from '../store';
import { useScene } from '../tradeoff/scene';
import { Lines, Plots } from './sides';

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
  const { rows } = useScene();
  const sides = useMemo(
    () => [
      { key: 'here', title: 'This store', rows: [...rows.values()] },
      { key: 'there', title: compared.name, rows: compared.rows }
    ],
    [rows, compared]
  );
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
      <Plots sides={sides} />
      <Lines label="Candidates in both stores" headers={compared.headers}>
        {compared.pairs.map(({ key, cells }) => (
          <Pair key={key} of={key} cells={cells} />
        ))}
      </Lines>
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
