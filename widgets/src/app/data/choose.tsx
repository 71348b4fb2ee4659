/** Where the data come from: a path with its preprocessing, or a variable of the notebook. */

import { type FormEvent, type ReactElement, useEffect, useId, useRef, useState } from 'react';
import { Browse } from '../elements/browse';
import { Field, Reasons, useWritten } from '../elements/field';
import { Button, Problem, useAsk, usePanelBusy, usePanelProblem } from '../elements/parts';
import { useAlive } from '../store';
import { Kind, useKind, useShown } from './kind';
import type { IData } from './section';
import { useSetting } from './setting';

export const BUSY = 'The data are being read.';
const EMPTY = 'Choose data: .npz, .csv, a folder of images by class, or a variable of this notebook.';

const NOTHING: IData['settings'] = {};

interface INamed {
  name: string;
  what: string;
}

export function Choose({ data }: { data: IData }): ReactElement {
  const { ask, error } = useAsk();
  const busy = usePanelBusy('data');
  const problem = usePanelProblem('data');
  // Before anything is read there is no good value to return to.
  const refused = data.facts ? problem || error : '';
  const [path, setPath] = useWritten(data.path || data.name, refused);
  const [layout, setLayout] = useWritten(data.layout, refused);
  const scale = useSetting('scale', data.scale, refused);
  const reshape = useSetting('reshape', data.reshape, refused);
  const mean = useSetting('mean', data.mean, refused);
  const std = useSetting('std', data.std, refused);
  const shown = useShown();
  const reasons = useRef<HTMLDivElement>(null);
  // Columns and classes of one file are not those of another.
  const held = path.trim() === data.path ? data.settings : NOTHING;
  const [file, setFile] = useWritten(held.file ?? '', refused);
  const [browsing, setBrowsing] = useState(false);
  const names = useAsk<INamed[]>();
  const alive = useAlive();
  const id = useId();
  const { ask: askNames } = names;
  useEffect(() => void askNames('data_names'), [askNames]);
  const known = names.answer?.value ?? [];
  const isName = known.some(({ name }) => name === path.trim());
  const kind = useKind(isName ? '' : path.trim(), file);
  const load = async (wanted: string): Promise<void> => {
    setPath(wanted);
    setBrowsing(false);
    const settings: Record<string, string> = { layout };
    const typed = Object.entries({ scale, reshape, mean, std }).map(([name, { done }]) => [name, done] as const);
    for (const [name, done] of [...typed, ...shown]) {
      const text = await done();
      if (text === null) {
        return; // the field says why
      }
      settings[name] = text;
    }
    void ask('load_data', { path: wanted, ...settings });
  };
  const use = (name: string): void => {
    setPath(name);
    void ask('use_variable', { name });
  };
  const onSubmit = (event: FormEvent): void => {
    event.preventDefault();
    if (isName) {
      use(path.trim());
    } else {
      void load(path);
    }
  };
  return (
    <>
      <form className="dk-form-line" onSubmit={onSubmit}>
        <label htmlFor={`${id}-path`}>Path or variable</label>
        <input
          id={`${id}-path`}
          className="dk-input dk-grow"
          list={`${id}-names`}
          value={path}
          placeholder="data.npz"
          spellCheck={false}
          onFocus={() => void askNames('data_names')}
          onChange={event => setPath(event.target.value)}
        />
        <datalist id={`${id}-names`}>
          {known.map(({ name, what }) => (
            <option key={name} value={name}>
              {what}
            </option>
          ))}
        </datalist>
        <Field label="Scale" placeholder="1/255" typed={scale} disabled={isName} />
        <Field label="Reshape" placeholder="28, 28, 1" typed={reshape} disabled={isName} />
        <Field label="Mean" placeholder="0.485, 0.456, 0.406" typed={mean} disabled={isName} />
        <Field label="Std" placeholder="0.229, 0.224, 0.225" typed={std} disabled={isName} />
        <span className="dk-pair">
          <label htmlFor={`${id}-layout`}>Layout</label>
          <select
            id={`${id}-layout`}
            className="dk-input"
            value={layout}
            disabled={isName}
            onChange={event => setLayout(event.target.value)}
          >
            <option value="">unchanged</option>
            <option value="channels_first">to channels first</option>
            <option value="channels_last">to channels last</option>
          </select>
        </span>
        <Kind
          kind={kind}
          held={held}
          refused={refused}
          shown={shown}
          reasons={reasons}
          onTaken={(name, text) => name === 'file' && setFile(text)}
        />
        <Button type="submit" disabled={!alive} reason={busy ? BUSY : ''}>
          Load
        </Button>
        <Button icon="folder" disabled={!alive} aria-expanded={browsing} onClick={() => setBrowsing(!browsing)}>
          Browse
        </Button>
      </form>
      <Reasons of={[scale, reshape, mean, std]} />
      <div ref={reasons} className="dk-reasons" />
      {known.length > 0 && !data.facts && (
        <div className="dk-names">
          <span className="dk-soft">In this notebook:</span>
          {known.map(({ name, what }) => (
            <Button key={name} title={what} onClick={() => use(name)} disabled={!alive} reason={busy ? BUSY : ''}>
              <code>{name}</code>
            </Button>
          ))}
        </div>
      )}
      {browsing && (
        <Browse
          command="browse_data"
          label="Data on the kernel's machine"
          empty="No folders, .npz or .csv files here."
          folders
          onChoose={wanted => void load(wanted)}
          onClose={() => setBrowsing(false)}
        />
      )}
      <Problem words={error} />
      {!data.facts && !busy && !problem && !browsing && (
        <div className="dk-empty">
          <p>{EMPTY}</p>
          <Button icon="folder" disabled={!alive} onClick={() => setBrowsing(true)}>
            Choose data
          </Button>
        </div>
      )}
    </>
  );
}
