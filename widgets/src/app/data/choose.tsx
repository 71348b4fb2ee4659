/** Where the data come from: a path with its preprocessing, or a variable of the notebook. */

import { type FormEvent, type ReactElement, useEffect, useId, useState } from 'react';
import { Browse } from '../browse';
import type { IData } from '../data';
import { Button, Problem, useAsk, usePanelBusy, usePanelProblem } from '../parts';
import { useAlive } from '../store';

export const BUSY = 'The data are being read.';
const EMPTY = 'Choose data: .npz, .csv, a folder of images by class, or a variable of this notebook.';

interface INamed {
  name: string;
  what: string;
}

export function Choose({ data }: { data: IData }): ReactElement {
  const [path, setPath] = useState(data.path || data.name);
  const [scale, setScale] = useWritten(data.scale);
  const [reshape, setReshape] = useWritten(data.reshape);
  const [layout, setLayout] = useWritten(data.layout);
  const [mean, setMean] = useWritten(data.mean);
  const [std, setStd] = useWritten(data.std);
  const [browsing, setBrowsing] = useState(false);
  const { ask, error } = useAsk();
  const names = useAsk<INamed[]>();
  const busy = usePanelBusy('data');
  const problem = usePanelProblem('data');
  const alive = useAlive();
  const id = useId();
  const { ask: askNames } = names;
  useEffect(() => setPath(data.path || data.name), [data.path, data.name]);
  useEffect(() => void askNames('data_names'), [askNames]);
  const known = names.answer?.value ?? [];
  const isName = known.some(({ name }) => name === path.trim());
  const load = (wanted: string): void => {
    setPath(wanted);
    setBrowsing(false);
    void ask('load_data', { path: wanted, scale, reshape, layout, mean, std });
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
      load(path);
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
        <Field label="Scale" placeholder="1/255" value={scale} disabled={isName} onChange={setScale} />
        <Field label="Reshape" placeholder="28, 28, 1" value={reshape} disabled={isName} onChange={setReshape} />
        <Field label="Mean" placeholder="0.485, 0.456, 0.406" value={mean} disabled={isName} onChange={setMean} />
        <Field label="Std" placeholder="0.229, 0.224, 0.225" value={std} disabled={isName} onChange={setStd} />
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
          onChoose={load}
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

/** What is written in a field, until the kernel has read something else. */
function useWritten(read: string): [string, (text: string) => void] {
  const [text, setText] = useState(read);
  useEffect(() => setText(read), [read]);
  return [text, setText];
}

interface IField {
  label: string;
  placeholder: string;
  value: string;
  disabled: boolean;
  onChange(text: string): void;
}

function Field({ label, onChange, ...input }: IField): ReactElement {
  const id = useId();
  return (
    <span className="dk-pair">
      <label htmlFor={id}>{label}</label>
      <input id={id} className="dk-input dk-short" {...input} onChange={event => onChange(event.target.value)} />
    </span>
  );
}
