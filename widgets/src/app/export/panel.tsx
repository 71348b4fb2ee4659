/** Export and serve: a folder that is checked, and the server that runs it. */

import { type FormEvent, type ReactElement, useId } from 'react';
import { Icon } from '../elements/icons';
import { Button, CopyButton, Note, Part, Problem, useAsk, usePanelBusy, usePanelProblem } from '../elements/parts';
import { kilobytes, plural } from '../format';
import { Serving } from '../serve/serving';
import type { IControl } from '../space/values';
import { useAlive, useBench, useSection, useView } from '../store';
import { FileTree } from './filetree';
import { Settings, settled } from './settings';

interface ICandidate {
  key: string;
  name: string;
  runtime: string;
  format: string;
  met: boolean;
  failed: boolean;
}

interface ICheck {
  words: string;
  state: 'waiting' | 'running' | 'done' | 'failed';
}

export interface IArtifact {
  path: string;
  shown: string;
  name: string;
  what: string;
  layout: string;
  bytes: number;
  files: { path: string; bytes: number }[];
  moreFiles: number;
}

export interface IExport {
  chosen: ICandidate | null;
  best: ICandidate | null;
  layouts: { name: string; label: string; place: string; help: string; reason: string; settings: IControl[] }[];
  layout: string;
  folder: string;
  checks: ICheck[];
  artifact: IArtifact | null;
  /** Whether what was exported is the chosen candidate. */
  current: boolean;
}

declare module '../protocol' {
  interface ISections {
    export: IExport;
  }
}

export default function ExportPanel(): ReactElement | null {
  const value = useSection('export');
  if (value === undefined) {
    return null;
  }
  return (
    <div className="dk-leave">
      <div className="dk-leave-column">
        <Export value={value} />
      </div>
      <div className="dk-leave-column">
        <Serving />
      </div>
    </div>
  );
}

function Export({ value }: { value: IExport }): ReactElement {
  const problem = usePanelProblem('export');
  const busy = usePanelBusy('export');
  return (
    <>
      <Part title="Export">
        <Chosen value={value} />
        {(value.chosen || value.best) && <Form value={value} busy={busy} />}
        {(busy || value.checks.some(check => check.state !== 'done') || value.artifact) && (
          <Checks checks={value.checks} />
        )}
        <Problem words={problem} />
      </Part>
      {value.artifact && !busy && <Artifact artifact={value.artifact} current={value.current} />}
    </>
  );
}

function Chosen({ value }: { value: IExport }): ReactElement {
  const { ask, error } = useAsk<string>();
  const alive = useAlive();
  const bench = useBench();
  const hasViews = useSection('app')?.tab !== '';
  if (value.chosen) {
    return (
      <p className="dk-chosen">
        <span className="dk-ab" role="img" aria-label="A">
          A
        </span>
        <span>
          <b>{value.chosen.name}</b> on {value.chosen.runtime}{' '}
          <span className="dk-soft">
            {value.chosen.format}
            {value.chosen.met ? '' : ', may lose more than you allow'}
          </span>
        </span>
      </p>
    );
  }
  if (value.best) {
    return (
      <p className="dk-chosen">
        <span>
          Nothing chosen. The best so far is <b>{value.best.name}</b> on {value.best.runtime}.
        </span>
        <Button kind="primary" disabled={!alive} onClick={() => void ask('use_best')}>
          Use it
        </Button>
        <Problem words={error} />
      </p>
    );
  }
  return (
    <p className="dk-chosen">
      <span>Nothing chosen. Run the sweep under Explore, then pick a candidate.</span>
      {hasViews && <Button onClick={() => bench.show('explore')}>Go to Explore</Button>}
    </p>
  );
}

function Form({ value, busy }: { value: IExport; busy: boolean }): ReactElement {
  const bench = useBench();
  const draft = useView(view => view.exporting);
  const layout = draft.layout ?? value.layout;
  const folder = draft.folder?.proposed === value.folder ? draft.folder.typed : value.folder;
  const { ask, error } = useAsk();
  const alive = useAlive();
  const id = useId();
  const picked = value.layouts.find(({ name }) => name === layout);
  const settings = picked?.settings ?? [];
  const typed = draft.settings?.[layout] ?? {};
  const reason = !value.chosen
    ? 'Nothing is chosen: use the best so far, or pick a point under Explore.'
    : picked?.reason
      ? `${picked.label} cannot be used: ${picked.reason}.`
      : '';
  const onSubmit = (event: FormEvent): void => {
    event.preventDefault();
    if (!reason && !busy) {
      void ask('export', { folder, layout, parameters: settled(settings, typed) });
    }
  };
  return (
    <form className="dk-export-form" onSubmit={onSubmit}>
      <fieldset className="dk-layouts">
        <legend>Target</legend>
        {[...new Set(value.layouts.map(({ place }) => place))].map(place => (
          <div key={place} className="dk-layout-place" role="group" aria-label={place}>
            <span className="dk-soft" aria-hidden="true">
              {place}
            </span>
            <div className="dk-layout-row">
              {value.layouts
                .filter(one => one.place === place)
                .map(({ name, label, help, reason: why }) => (
                  <label
                    key={name}
                    className={`dk-layout ${why ? 'dk-layout-off' : ''}`}
                    title={why ? `Not possible: ${why}.` : help}
                  >
                    <input
                      type="radio"
                      name={`${id}-layout`}
                      value={name}
                      checked={layout === name}
                      aria-describedby={layout === name ? `${id}-help` : undefined}
                      onChange={() => bench.look({ exporting: { ...draft, layout: name } })}
                    />
                    <b>{label}</b>
                    {why && <span className="dk-unseen">, not possible</span>}
                  </label>
                ))}
            </div>
          </div>
        ))}
        {picked && (
          <p id={`${id}-help`} className="dk-soft dk-layout-help">
            {picked.reason ? `Not possible: ${picked.reason}.` : picked.help}
          </p>
        )}
      </fieldset>
      {settings.length > 0 && (
        <Settings
          owner={picked?.label ?? ''}
          settings={settings}
          typed={typed}
          change={next => bench.look({ exporting: { ...draft, settings: { ...draft.settings, [layout]: next } } })}
        />
      )}
      <div className="dk-line">
        <label htmlFor={`${id}-folder`}>Folder</label>
        <input
          id={`${id}-folder`}
          className="dk-input dk-grow"
          value={folder}
          spellCheck={false}
          onChange={event => {
            const typed = { typed: event.target.value, proposed: value.folder };
            bench.look({ exporting: { ...draft, folder: typed } });
          }}
        />
        <Button type="submit" kind="primary" disabled={!alive} reason={busy ? 'The export is running.' : reason}>
          Export
        </Button>
      </div>
      <Problem words={error} />
    </form>
  );
}

const MARKS: Record<ICheck['state'], string> = {
  waiting: 'waiting',
  running: 'running',
  done: 'done',
  failed: 'failed'
};

function Checks({ checks }: { checks: readonly ICheck[] }): ReactElement | null {
  const alive = useAlive();
  if (checks.length === 0) {
    return null;
  }
  return (
    <ol className="dk-checks" aria-label="Checks" aria-live="polite">
      {checks.map(({ words, state }) => (
        <li key={words} className={`dk-check-${state}`}>
          {state === 'done' && <Icon name="check" />}
          {state === 'failed' && <Icon name="close" />}
          {state === 'running' && alive && <span className="dk-spin" aria-hidden="true" />}
          {(state === 'waiting' || (state === 'running' && !alive)) && (
            <span className="dk-check-dot" aria-hidden="true" />
          )}
          <span>
            {words}
            <span className="dk-unseen">, {MARKS[state]}</span>
          </span>
        </li>
      ))}
    </ol>
  );
}

function Artifact({ artifact, current }: { artifact: IArtifact; current: boolean }): ReactElement {
  return (
    <Part
      title={artifact.shown}
      aside={
        <>
          <span className="dk-soft dk-small">
            {artifact.layout}, {plural(artifact.files.length + artifact.moreFiles, 'file')}, {kilobytes(artifact.bytes)}{' '}
            kB
          </span>
          <CopyButton text={artifact.path} label="Copy path" />
        </>
      }
    >
      {!current && <Note>This folder holds {artifact.what}, not what is chosen now.</Note>}
      <FileTree files={artifact.files} />
      {artifact.moreFiles > 0 && <Note>{plural(artifact.moreFiles, 'more file')} not shown.</Note>}
    </Part>
  );
}
