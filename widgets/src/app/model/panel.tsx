/** Model: pick or drop a file; its facts, its layers, its graph. */

import { type FormEvent, type ReactElement, useId, useState } from 'react';
import { Browse } from '../elements/browse';
import { useWritten } from '../elements/field';
import { Icon } from '../elements/icons';
import { Button, PanelStatus, Part, Problem, useAsk, usePanelBusy, usePanelProblem } from '../elements/parts';
import { kilobytes, thousands } from '../format';
import { openGraph } from '../graphs';
import { host, type IPlace } from '../host';
import { useAlive, useSection } from '../store';
import { DropZone } from './dropzone';
import { Layers } from './layers';
import { usePlace } from './place';
import type { IModel, IModelFacts } from './section';

const NO_NAMES = { inputs: '', outputs: '' };
const FOLDER = 'A SavedModel is a folder: copy it next to the notebook, then choose it with Browse.';

export default function ModelPanel(): ReactElement | null {
  const model = useSection('model');
  if (model === undefined) {
    return null;
  }
  return (
    <div className="dk-model">
      <Choose model={model} />
      <PanelStatus panel="model" doing="reading the model" cancel="cancel_model" />
      {model.facts && (
        <div className="dk-model-two">
          <Facts model={model} facts={model.facts} />
          <Layers key={model.facts.digest} facts={model.facts} profile={model.profile} home={model.here.home} />
        </div>
      )}
    </div>
  );
}

/** Path field, listing and drop zone. */
function Choose({ model }: { model: IModel }): ReactElement {
  const shown = model.facts && !model.facts.kernel ? model.facts.shown : '';
  const { ask, error } = useAsk();
  const problem = usePanelProblem('model');
  const [path, setPath] = useWritten(shown, shown && (problem || error));
  const had = model.facts?.named ?? NO_NAMES;
  const [inputs, setInputs] = useWritten(had.inputs, '');
  const [outputs, setOutputs] = useWritten(had.outputs, '');
  const [browsing, setBrowsing] = useState(false);
  const busy = usePanelBusy('model');
  const alive = useAlive();
  const id = useId();
  const isNamed = (file: string): boolean => model.endings.named.some(end => file.trim().toLowerCase().endsWith(end));
  const load = (wanted: string, names = NO_NAMES): void => {
    setPath(wanted);
    setBrowsing(false);
    void ask('load_model', { path: wanted, ...(isNamed(wanted) ? names : NO_NAMES) });
  };
  const onSubmit = (event: FormEvent): void => {
    event.preventDefault();
    load(path, { inputs, outputs });
  };
  const to: IPlace = { path: model.here.folder, home: model.here.home, bytes: null };
  const words = `Drop a model here, with the files that belong to it, or choose them: ${model.endings.words}.`;
  const drop = (small: boolean): ReactElement => (
    <DropZone
      small={small}
      label="Choose a model file"
      words={words}
      endings={model.endings}
      to={to}
      folderWords={FOLDER}
      onFile={file => load(file)}
    />
  );
  return (
    <>
      <form className="dk-form-line" onSubmit={onSubmit}>
        <label htmlFor={id}>Model file</label>
        <input
          id={id}
          className="dk-input dk-grow"
          value={path}
          placeholder="model.keras"
          spellCheck={false}
          onChange={event => setPath(event.target.value)}
        />
        <Button type="submit" disabled={!alive} reason={busy ? 'The model is being read.' : ''}>
          Load
        </Button>
        <Button icon="folder" disabled={!alive} aria-expanded={browsing} onClick={() => setBrowsing(!browsing)}>
          Browse
        </Button>
        {model.facts && drop(true)}
        {isNamed(path) && (
          <div className="dk-model-ends" role="group" aria-label="Part of the network">
            <End label="Inputs" value={inputs} onChange={setInputs} />
            <End label="Outputs" value={outputs} onChange={setOutputs} />
          </div>
        )}
      </form>
      {browsing && (
        <Browse
          command="browse_models"
          label="Models on the kernel's machine"
          empty="No folders or model files here."
          onChoose={file => load(file)}
          onClose={() => setBrowsing(false)}
        />
      )}
      <Problem words={error} />
      {!model.facts && !busy && drop(false)}
    </>
  );
}

/** Where a part of a network begins or ends. */
function End({
  label,
  value,
  onChange
}: {
  label: string;
  value: string;
  onChange: (text: string) => void;
}): ReactElement {
  return (
    <label>
      <span>{label}</span>
      <input
        className="dk-input"
        value={value}
        placeholder="those of the network"
        title="Names of tensors or blobs, separated by commas"
        spellCheck={false}
        onChange={event => onChange(event.target.value)}
      />
    </label>
  );
}

function Facts({ model, facts }: { model: IModel; facts: IModelFacts }): ReactElement {
  const pairs: [string, string | string[]][] = [
    ['File', facts.file],
    ['Format', facts.label],
    [facts.inputs.length === 1 ? 'Input' : 'Inputs', facts.inputs],
    [facts.outputs.length === 1 ? 'Output' : 'Outputs', facts.outputs],
    ['Parameters', thousands(facts.parameters)],
    ['Size', `${kilobytes(facts.bytes)} kB`],
    ['SHA-256', `${facts.digest.slice(0, 16)}…`]
  ];
  return (
    <Part title="Model" aside={<OpenGraph model={model} facts={facts} />}>
      {facts.warnings.map(words => (
        <p key={words} className="dk-warning">
          <Icon name="warning" />
          <span>{words}</span>
        </p>
      ))}
      <dl className="dk-facts">
        {pairs.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd title={name === 'SHA-256' ? facts.digest : name === 'File' ? facts.path : undefined}>
              {Array.isArray(value) ? value.map(line => <div key={line}>{line}</div>) : value}
            </dd>
          </div>
        ))}
      </dl>
    </Part>
  );
}

function OpenGraph({ model, facts }: { model: IModel; facts: IModelFacts }): ReactElement | null {
  const place = usePlace(facts, model.here.home);
  const undrawn = facts.folder ? '' : host().undrawn(facts.path);
  if (undrawn) {
    return <span className="dk-soft dk-small">{undrawn}</span>;
  }
  if (host().openFile === null || place.state === 'looking') {
    return null;
  }
  if (place.state === 'outside') {
    return <span className="dk-soft dk-small">{place.why}</span>;
  }
  return (
    <Button icon="graph" onClick={() => void openGraph(place.path, facts.folder, `${facts.file} · ${facts.label}`)}>
      Open graph
    </Button>
  );
}
