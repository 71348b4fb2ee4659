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
  const [scale, setScale] = useState(data.scale);
  const [reshape, setReshape] = useState(data.reshape);
  const [layout, setLayout] = useState(data.layout);
  const [mean, setMean] = useState(data.mean);
  const [std, setStd] = useState(data.std);
  const [browsing, setBrowsing] = useState(false);
  const { ask, error } = useAsk();
  const names = useAsk<INamed[]>();
  const busy = usePanelBusy('data');
  const problem = usePanelProblem('data');
  const alive = useAlive();
  const id = useId();
  const { ask: askNames } = names;
  useEffect(() => setPath(data.path || data.name), [data.path, data.name]);
  useEffect(() => setScale(data.scale), [data.scale]);
  useEffect(() => setReshape(data.reshape), [data.reshape]);
  useEffect(() => setLayout(data.layout), [data.layout]);
  useEffect(() => setMean(data.mean), [data.mean]);
  useEffect(() => setStd(data.std), [data.std]);
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
        <span className="dk-pair">
          <label htmlFor={`${id}-scale`}>Scale</label>
          <input
            id={`${id}-scale`}
            className="dk-input dk-short"
            value={scale}
            placeholder="1/255"
            disabled={isName}
            onChange={event => setScale(event.target.value)}
          />
        </span>
        <span className="dk-pair">
          <label htmlFor={`${id}-reshape`}>Reshape</label>
          <input
            id={`${id}-reshape`}
            className="dk-input dk-short"
            value={reshape}
            placeholder="28, 28, 1"
            disabled={isName}
            onChange={event => setReshape(event.target.value)}
          />
        </span>
        <span className="dk-pair">
          <label htmlFor={`${id}-mean`}>Mean</label>
          <input
            id={`${id}-mean`}
            className="dk-input dk-short"
            value={mean}
            placeholder="0.485, 0.456, 0.406"
            disabled={isName}
            onChange={event => setMean(event.target.value)}
          />
        </span>
        <span className="dk-pair">
          <label htmlFor={`${id}-std`}>Std</label>
          <input
            id={`${id}-std`}
            className="dk-input dk-short"
            value={std}
            placeholder="0.229, 0.224, 0.225"
            disabled={isName}
            onChange={event => setStd(event.target.value)}
          />
        </span>
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
