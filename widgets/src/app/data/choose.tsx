/** Where the data come from: a path with its preprocessing, or a variable of the notebook. */

import { type FormEvent, type ReactElement, useEffect, useId, useState } from 'react';
import { Browse } from '../elements/browse';
import { Field, type ITyped, Reasons, useTyped, useWritten } from '../elements/field';
import { Button, Problem, useAsk, usePanelBusy, usePanelProblem } from '../elements/parts';
import { Refused } from '../link';
import { useAlive, useBench } from '../store';
import type { IData } from './section';

export const BUSY = 'The data are being read.';
const EMPTY = 'Choose data: .npz, .csv, a folder of images by class, or a variable of this notebook.';

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
  const [browsing, setBrowsing] = useState(false);
  const names = useAsk<INamed[]>();
  const alive = useAlive();
  const id = useId();
  const { ask: askNames } = names;
  useEffect(() => void askNames('data_names'), [askNames]);
  const known = names.answer?.value ?? [];
  const isName = known.some(({ name }) => name === path.trim());
  const load = async (wanted: string): Promise<void> => {
    setPath(wanted);
    setBrowsing(false);
    const settings: Record<string, string> = { layout };
    for (const [name, typed] of Object.entries({ scale, reshape, mean, std })) {
      const text = await typed.done();
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
        <Button type="submit" disabled={!alive} reason={busy ? BUSY : ''}>
          Load
        </Button>
        <Button icon="folder" disabled={!alive} aria-expanded={browsing} onClick={() => setBrowsing(!browsing)}>
          Browse
        </Button>
      </form>
      <Reasons of={[scale, reshape, mean, std]} />
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

/** A setting that counts with the next Load; the kernel reads it as soon as it is typed. */
function useSetting(name: string, held: string, refused: string): ITyped {
  const [text, setText] = useWritten(held, refused);
  const { link } = useBench();
  return useTyped(text, async typed => {
    try {
      await link.ask('check_setting', { name, text: typed });
    } catch (failure) {
      return failure instanceof Refused ? failure.message : String(failure);
    }
    setText(typed);
    return '';
  });
}
