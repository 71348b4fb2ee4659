/** Data: a path or a variable of the notebook; samples, classes, splits, and what they can tell. */

import { type FormEvent, type ReactElement, useEffect, useId, useState } from 'react';
import { Browse } from './browse';
import { plural, thousands } from './format';
import { Icon } from './icons';
import {
  Button,
  Note,
  PanelStatus,
  Part,
  Problem,
  useAnswer,
  useAsk,
  usePanelBusy,
  usePanelProblem,
  Waiting
} from './parts';
import { type ISample, usePictures } from './pictures';
import { useAlive, useSection } from './store';

interface IDataFacts {
  examples: number;
  digest: string;
  inputs: string[];
  splits: { name: string; count: number }[];
  labels: string;
  preprocessing: string[];
  /** What was taken for what, what was left out, and what is remarkable. */
  reading: string[];
  classes: { name: string; count: number }[];
  moreClasses: number;
  balance: { words: string; even: boolean };
  pictures: boolean;
}

interface ISuspicion {
  text: string;
  /** The line of code that reads it so. */
  remedy: string;
  /** What the button says; '' when the panel cannot do it by itself. */
  label: string;
}

export interface IMeaning {
  /** Heading and sentence. */
  lines: [string, string][];
  ok: boolean;
  summary: string;
  warnings: string[];
  suspicions: ISuspicion[];
}

export interface IData {
  facts: IDataFacts | null;
  /** What everything is taken to mean, null before that is known. */
  meaning: IMeaning | null;
  /** What the notebook calls the data, '' when they have no name. */
  name: string;
  path: string;
  scale: string;
  reshape: string;
  layout: string;
  mean: string;
  std: string;
  resolution: { words: string; enough: boolean };
}

declare module './protocol' {
  interface ISections {
    data: IData;
  }
}

const BUSY = 'The data are being read.';
const EMPTY = 'Give data: .npz, .csv, a folder of images by class, or a variable of this notebook.';

export function DataPanel(): ReactElement | null {
  const data = useSection('data');
  if (data === undefined) {
    return null;
  }
  return (
    <div className="dk-data">
      <Choose data={data} />
      <PanelStatus panel="data" doing="reading the data" cancel="cancel_data" />
      {data.facts && <Resolution {...data.resolution} />}
      {data.facts && (
        <div className="dk-data-two">
          <Facts facts={data.facts} />
          {data.meaning && <Meaning meaning={data.meaning} />}
          <Samples key={data.facts.digest} facts={data.facts} />
          {data.facts.classes.length > 0 && <Classes facts={data.facts} />}
        </div>
      )}
    </div>
  );
}

interface INamed {
  name: string;
  what: string;
}

function Choose({ data }: { data: IData }): ReactElement {
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
            <option value="">as they are</option>
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

function Resolution({ words, enough }: IData['resolution']): ReactElement | null {
  if (!words) {
    return null;
  }
  return enough ? (
    <p className="dk-resolution dk-soft">{words}</p>
  ) : (
    <p className="dk-resolution dk-warning">
      <Icon name="warning" />
      <span>{words}</span>
    </p>
  );
}

function Meaning({ meaning }: { meaning: IMeaning }): ReactElement {
  const { ask, busy, error } = useAsk();
  const { lines, ok, summary, warnings, suspicions } = meaning;
  const result = ok ? 'dk-note' : 'dk-note dk-uneven';
  return (
    <Part title="What it is taken to mean">
      <p className={result}>
        <Icon name={ok ? 'check' : 'warning'} /> The model as given: {summary}.
      </p>
      {warnings.map(text => (
        <p key={text} className="dk-note dk-uneven">
          {text}
        </p>
      ))}
      {suspicions.length > 0 && (
        <ul className="dk-suspicions" aria-label="Other readings that do better">
          {suspicions.map(({ text, remedy, label }, place) => (
            <li key={remedy}>
              <span>{text}</span> <code>{remedy}</code>
              {label && (
                <Button reason={busy ? BUSY : ''} onClick={() => void ask('apply_remedy', { place })}>
                  {label}
                </Button>
              )}
            </li>
          ))}
        </ul>
      )}
      <Problem words={error} />
      <dl className="dk-facts dk-contract">
        {lines.map(([heading, said]) => (
          <div key={`${heading} ${said}`}>
            <dt>{heading}</dt>
            <dd>{said}</dd>
          </div>
        ))}
      </dl>
    </Part>
  );
}

function Facts({ facts }: { facts: IDataFacts }): ReactElement {
  const total = Math.max(1, facts.examples);
  return (
    <Part title="Data" aside={<span className="dk-soft dk-small">{plural(facts.examples, 'example')}</span>}>
      <dl className="dk-facts">
        <div>
          <dt>{facts.inputs.length === 1 ? 'Input' : 'Inputs'}</dt>
          <dd>
            {facts.inputs.map(line => (
              <div key={line}>{line}</div>
            ))}
          </dd>
        </div>
        <div>
          <dt>Labels</dt>
          <dd>{facts.labels}</dd>
        </div>
        <div>
          <dt>Preprocessing</dt>
          <dd>{facts.preprocessing.length > 0 ? facts.preprocessing.join('; ') : 'none'}</dd>
        </div>
        {facts.reading.length > 0 && (
          <div>
            <dt>Read</dt>
            <dd>
              {facts.reading.map(line => (
                <div key={line}>{line}</div>
              ))}
            </dd>
          </div>
        )}
      </dl>
      <div className="dk-split" aria-hidden="true">
        {facts.splits.map(({ name, count }) => (
          <span key={name} className={`dk-split-${name}`} style={{ width: `${(100 * count) / total}%` }} />
        ))}
      </div>
      <ul className="dk-split-words" aria-label="Splits">
        {facts.splits.map(({ name, count }) => (
          <li key={name}>
            <span className={`dk-swatch dk-split-${name}`} aria-hidden="true" />
            {SPLITS[name] ?? name} <b>{thousands(count)}</b>
          </li>
        ))}
      </ul>
    </Part>
  );
}

const SPLITS: Record<string, string> = {
  train: 'Train and calibrate',
  evaluation: 'Compare candidates',
  test: 'Confirm the choice'
};

function Samples({ facts }: { facts: IDataFacts }): ReactElement {
  const { answer, busy, error, again } = useAnswer<ISample[]>('data_samples', { digest: facts.digest });
  const samples = answer?.value ?? [];
  const urls = usePictures(answer?.buffers);
  return (
    <Part title="Samples" aside={<span className="dk-soft dk-small">of those that compare candidates</span>}>
      {busy && <Waiting what="reading samples" />}
      <Problem words={error}>
        <Button onClick={again}>Try again</Button>
      </Problem>
      {facts.pictures ? (
        <div className="dk-tiles">
          {samples.map((sample, place) => (
            <figure key={sample.index}>
              <img className="dk-picture" src={urls[place]} alt={named(sample)} title={named(sample)} />
              <figcaption title={sample.label}>{sample.label}</figcaption>
            </figure>
          ))}
        </div>
      ) : (
        <Rows samples={samples} />
      )}
    </Part>
  );
}

function named({ index, label }: ISample): string {
  return label ? `sample ${index}, ${label}` : `sample ${index}`;
}

/** Samples that are no pictures. */
function Rows({ samples }: { samples: readonly ISample[] }): ReactElement | null {
  const [first] = samples;
  if (!first) {
    return null;
  }
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so it must be reached by keyboard
    <div className="dk-scroll" tabIndex={0} role="region" aria-label="Samples">
      <table className="dk-table">
        <thead>
          <tr>
            <th scope="col">Sample</th>
            {first.cells.map((_, place) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: a column is its place
              <th key={place} scope="col" className="dk-n">
                {place}
              </th>
            ))}
            <th scope="col">Label</th>
          </tr>
        </thead>
        <tbody>
          {samples.map(({ index, cells, label }) => (
            <tr key={index}>
              <td>{index}</td>
              {cells.map((cell, place) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: a column is its place
                <td key={place} className="dk-n">
                  {cell}
                </td>
              ))}
              <td>{label}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Classes({ facts }: { facts: IDataFacts }): ReactElement {
  const most = Math.max(1, ...facts.classes.map(({ count }) => count));
  return (
    <Part title="Classes" aside={<span className="dk-soft dk-small">of those that compare candidates</span>}>
      {facts.balance.words && (
        <p className={facts.balance.even ? 'dk-note' : 'dk-note dk-uneven'}>{facts.balance.words}</p>
      )}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so it must be reached by keyboard */}
      <div className="dk-scroll dk-classes" tabIndex={0} role="region" aria-label="Examples of each class">
        <table>
          <tbody>
            {facts.classes.map(({ name, count }, place) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: two classes can have one name
              <tr key={place}>
                <th scope="row" title={name}>
                  {name}
                </th>
                <td className="dk-n">{thousands(count)}</td>
                <td className="dk-class-bar">
                  <span style={{ width: `${(100 * count) / most}%` }} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {facts.moreClasses > 0 && <Note>{plural(facts.moreClasses, 'more class', 'more classes')} not shown.</Note>}
    </Part>
  );
}
