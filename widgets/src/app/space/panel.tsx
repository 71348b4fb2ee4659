/** Space: presets, techniques with the controls they declare, where to run, and how many candidates that makes. */

import { type ReactElement, useId } from 'react';
import { Button, onArrowKeys, Problem, useAsk, Waiting } from '../elements/parts';
import { plural } from '../format';
import { useAlive, useSection } from '../store';
import { Removable } from './controls';
import { Help, HelpPlace, useHelp } from './help';
import { useDraft } from './latest';
import { type IOptions, Options } from './options';
import { type IPlan, Summary } from './summary';
import { type ITechnique, isCrowded, Technique } from './technique';
import type { IControl } from './values';
import { type IDevice, RunOn } from './where';

export interface ISpace {
  /** The space in a line, for where there is no room for its controls. */
  line: string;
  preset: string;
  presets: { name: string; label: string; help: string }[];
  techniques: ITechnique[];
  devices: IDevice[];
  /** Whether the runtimes were asked for their devices. */
  devicesKnown: boolean;
  /** Threads and batch size. */
  where: IControl[];
  /** Recipes that were added one by one. */
  added: { key: string; label: string }[];
  plan: IPlan;
  run: { label: string; reason: string };
  options: IOptions;
}

declare module '../protocol' {
  interface ISections {
    space: ISpace;
  }
}

export default function SpacePanel(): ReactElement {
  const space = useSection('space');
  const help = useHelp();
  if (space === undefined) {
    return <Waiting what="reading the space" />;
  }
  const { plan } = space;
  const crowded = isCrowded(space.techniques);
  const known = plan.known && plan.candidates !== undefined && plan.problems.length === 0;
  return (
    <div className="dk-space" {...help.watch}>
      <div className="dk-space-head">
        <h3>Space</h3>
        <span className="dk-grow" />
        {known && (
          <span className={`dk-soft dk-small ${plan.fresh ? '' : 'dk-stale'}`}>
            {plural(plan.candidates ?? 0, 'candidate')}
          </span>
        )}
      </div>
      <Presets chosen={space.preset} presets={space.presets} />
      <div className="dk-space-body">
        <div className="dk-space-techniques">
          {space.techniques.map(technique => (
            <Technique key={technique.name} technique={technique} fresh={plan.fresh} crowded={crowded} />
          ))}
          <Added recipes={space.added} />
        </div>
        <div className="dk-space-rest">
          <RunOn devices={space.devices} known={space.devicesKnown} controls={space.where} />
          <Options options={space.options} />
          <div className="dk-space-part">
            <Summary plan={plan} />
          </div>
        </div>
      </div>
      <div className="dk-space-foot">
        <HelpPlace words={help.words} />
        <Run />
      </div>
    </div>
  );
}

function Presets({ chosen, presets }: { chosen: string; presets: ISpace['presets'] }): ReactElement {
  const id = useId();
  const { ask, error } = useAsk();
  const alive = useAlive();
  const [preset, change] = useDraft(chosen, name => ask('set_preset', { name }));
  return (
    <>
      <div
        className="dk-presets"
        role="radiogroup"
        aria-label="Preset"
        onKeyDown={event => onArrowKeys(event, '[role=radio]')}
      >
        {presets.map(({ name, label, help }) => (
          <span key={name} className="dk-helped dk-segment">
            <button
              type="button"
              role="radio"
              className="dk-help-name"
              aria-checked={preset === name}
              aria-describedby={`${id}-${name}`}
              tabIndex={preset === name ? 0 : -1}
              disabled={!alive}
              onClick={() => change(name)}
            >
              {label}
            </button>
            <Help id={`${id}-${name}`}>{help}</Help>
          </span>
        ))}
      </div>
      <Problem words={error} />
    </>
  );
}

function Added({ recipes }: { recipes: ISpace['added'] }): ReactElement | null {
  const { ask, error } = useAsk();
  const alive = useAlive();
  if (recipes.length === 0) {
    return null;
  }
  return (
    <section className="dk-space-part" aria-label="Added candidates">
      <h4>Added</h4>
      <ul className="dk-chips">
        {recipes.map(({ key, label }) => (
          <li key={key}>
            <Removable words={label} disabled={!alive} onRemove={() => void ask('remove_recipe', { key })} />
          </li>
        ))}
      </ul>
      <Problem words={error} />
    </section>
  );
}

/** The button that starts the sweep: below the controls, and in the line that stands for them where there is no room. */
export function Run(): ReactElement | null {
  const id = useId();
  const run = useSection('space')?.run;
  const { ask, error } = useAsk();
  const alive = useAlive();
  if (run === undefined) {
    return null;
  }
  const reason = alive ? run.reason : 'The kernel stopped.';
  return (
    <>
      <Button
        kind="primary"
        reason={reason}
        aria-describedby={reason ? id : undefined}
        className="dk-button dk-button-primary dk-run"
        onClick={() => void ask('start')}
      >
        {alive ? run.label : 'Kernel stopped'}
      </Button>
      {reason && (
        <span id={id} className="dk-unseen">
          {reason}
        </span>
      )}
      <Problem words={error} />
    </>
  );
}
