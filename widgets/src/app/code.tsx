/** Code: the script that does what was clicked, to copy, to insert as a cell, or to save as a notebook. */

import { type ReactElement, useEffect, useId, useRef, useState } from 'react';
import { Button, CopyButton, Problem, useAsk } from './elements/parts';
import { located } from './graphs';
import { host, type IPlace } from './host';
import { useAlive, useBench, useSection, useView } from './store';

export interface ICode {
  /** The whole script. */
  script: string;
  /** The call that the last click stands for. */
  line: string;
  /** Numbers of the lines that the last change made or changed, from 0. */
  changed: number[];
  /** Where "Save as notebook" would write. */
  notebook: string;
}

declare module './protocol' {
  interface ISections {
    code: ICode;
  }
}

export function CodeButton(): ReactElement {
  const bench = useBench();
  const open = useView(view => view.codeOpen);
  return (
    <Button
      kind="quiet"
      icon="code"
      aria-label="Code"
      aria-expanded={open}
      onClick={() => bench.look({ codeOpen: !open })}
    >
      <span className="dk-wide">Code</span>
    </Button>
  );
}

export function CodeDrawer(): ReactElement | null {
  const code = useSection('code');
  const open = useView(view => view.codeOpen);
  const bench = useBench();
  const saving = useView(view => view.saving);
  const root = useRef<HTMLElement>(null);
  const [said, setSaid] = useState('');
  const shown = open || saving;
  useEffect(() => {
    // On screen, where it was asked for: another view of the same Workbench stays where it is.
    if (shown && root.current?.closest('.dk-Workbench')?.contains(document.activeElement)) {
      root.current.scrollIntoView({ block: 'nearest' });
    }
  }, [shown]);
  if (code === undefined) {
    return null;
  }
  const insert = (): void => {
    const done = root.current !== null && host().insertCell?.(root.current, code.script);
    setSaid(done ? 'Inserted below.' : 'There is no notebook cell here to insert below. Copy the code instead.');
  };
  return (
    <section ref={root} className="dk-code" aria-label="Code for this">
      <div className="dk-code-head">
        <button
          type="button"
          className="dk-fold-head"
          aria-expanded={open}
          onClick={() => bench.look({ codeOpen: !open })}
        >
          <b>Code for this</b>
        </button>
        {open ? (
          <span className="dk-soft">reproduces what you see</span>
        ) : (
          <code className="dk-code-line">{code.line}</code>
        )}
        <span className="dk-grow" />
        <CopyButton text={code.script} label="Copy as Python" />
        {host().insertCell && <Button onClick={insert}>Insert cell below</Button>}
        <Button aria-expanded={saving} onClick={() => bench.look({ saving: !saving })}>
          Save as notebook
        </Button>
      </div>
      {said && (
        <p className="dk-note" role="status">
          {said}
        </p>
      )}
      {saving && <SaveForm usual={code.notebook} onEnd={() => bench.look({ saving: false })} />}
      {open && <Script script={code.script} changed={code.changed} />}
    </section>
  );
}

function Script({ script, changed }: { script: string; changed: number[] }): ReactElement {
  const marked = new Set(changed);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so it must be reached by keyboard
    <pre className="dk-script" tabIndex={0} role="region" aria-label="Script">
      {script
        .trimEnd()
        .split('\n')
        .map((line, place) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a line is its number
          <span key={place} className={marked.has(place) ? 'dk-script-changed' : undefined}>
            {`${line}\n`}
          </span>
        ))}
    </pre>
  );
}

interface ISaved {
  /** Its path as the kernel would write it; empty when nothing was written. */
  saved: string;
  taken: boolean;
  place?: IPlace | null;
}

/** Where Jupyter shows what was saved; null where it does not. */
async function placeOf(saved: ISaved | undefined): Promise<string | null> {
  return saved?.place ? located(saved.place) : null;
}

function SaveForm({ usual, onEnd }: { usual: string; onEnd: () => void }): ReactElement {
  const [path, setPath] = useState(usual);
  /** The path that another file has. */
  const [taken, setTaken] = useState('');
  const { ask, busy, error, answer } = useAsk<ISaved>();
  const [opens, setOpens] = useState<string | null>(null);
  const alive = useAlive();
  const id = useId();
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    // In the view where it was asked for: another one also shows the form.
    if (field.current?.closest('.dk-Workbench')?.contains(document.activeElement)) {
      field.current.focus();
    }
  }, []);
  const save = async (overwrite: boolean): Promise<void> => {
    const said = await ask('save_notebook', { path, overwrite });
    setTaken(said?.value.taken ? path : '');
    setOpens(await placeOf(said?.value));
  };
  const saved = answer?.value.saved ?? '';
  return (
    <form
      className="dk-form-line"
      onSubmit={event => {
        event.preventDefault();
        void save(false);
      }}
    >
      <label htmlFor={id}>Save to</label>
      <input
        ref={field}
        id={id}
        className="dk-input dk-grow"
        value={path}
        onChange={event => setPath(event.target.value)}
      />
      <Button type="submit" disabled={!alive} reason={busy ? 'Saving.' : ''}>
        Save
      </Button>
      {taken !== '' && taken === path && (
        <>
          <span role="status">{taken} exists.</span>
          <Button disabled={!alive} onClick={() => void save(true)}>
            Overwrite
          </Button>
        </>
      )}
      <Button kind="quiet" onClick={onEnd}>
        Close
      </Button>
      <Problem words={error} />
      {saved && (
        <p className="dk-note" role="status">
          Saved {saved}.{' '}
          {opens !== null && host().openFile && (
            <Button kind="link" onClick={() => void host().openFile?.(opens)}>
              Open
            </Button>
          )}
        </p>
      )}
    </form>
  );
}
