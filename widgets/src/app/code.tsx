/** Code: the script that does what was clicked, to copy, to insert as a cell, or to save as a notebook. */

import { type ReactElement, useId, useRef, useState } from 'react';
import { host } from './host';
import { Button, Problem, useAsk, useCopy } from './parts';
import { useBench, useSection, useView } from './store';

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
    <Button kind="quiet" icon="code" aria-expanded={open} onClick={() => bench.look({ codeOpen: !open })}>
      Code
    </Button>
  );
}

export function CodeDrawer(): ReactElement | null {
  const code = useSection('code');
  const open = useView(view => view.codeOpen);
  const bench = useBench();
  const copy = useCopy();
  const [saving, setSaving] = useState(false);
  const root = useRef<HTMLElement>(null);
  const [said, setSaid] = useState('');
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
        <Button icon="copy" onClick={() => copy(code.script)}>
          Copy as Python
        </Button>
        {host().insertCell && <Button onClick={insert}>Insert cell below</Button>}
        <Button aria-expanded={saving} onClick={() => setSaving(!saving)}>
          Save as notebook
        </Button>
      </div>
      {said && (
        <p className="dk-note" role="status">
          {said}
        </p>
      )}
      {saving && <SaveForm usual={code.notebook} onEnd={() => setSaving(false)} />}
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

function SaveForm({ usual, onEnd }: { usual: string; onEnd: () => void }): ReactElement {
  const [path, setPath] = useState(usual);
  const [taken, setTaken] = useState(false);
  const { ask, busy, error, answer } = useAsk<{ saved: string; taken: boolean }>();
  const id = useId();
  const save = async (overwrite: boolean): Promise<void> => {
    const said = await ask('save_notebook', { path, overwrite });
    setTaken(said?.value.taken ?? false);
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
      <input id={id} className="dk-input dk-grow" value={path} onChange={event => setPath(event.target.value)} />
      <Button type="submit" disabled={busy}>
        Save
      </Button>
      {taken && (
        <>
          <span role="status">{path} exists.</span>
          <Button onClick={() => void save(true)}>Overwrite</Button>
        </>
      )}
      <Button kind="quiet" onClick={onEnd}>
        Close
      </Button>
      <Problem words={error} />
      {saved && (
        <p className="dk-note" role="status">
          Saved {saved}.{' '}
          {host().openFile && (
            <Button kind="link" onClick={() => void host().openFile?.(saved)}>
              Open
            </Button>
          )}
        </p>
      )}
    </form>
  );
}
