/** A technique: a check box, and its controls while it is ticked. */

import { type ReactElement, useId } from 'react';
import { Icon } from '../icons';
import { Problem, useAsk, useFold } from '../parts';
import { useAlive } from '../store';
import { Control } from './controls';
import { Help, Reason } from './help';
import { useDraft } from './latest';
import type { IControl } from './values';

export interface ITechnique {
  name: string;
  label: string;
  help: string;
  on: boolean;
  /** Candidates that use it; null when that is not known. */
  count: number | null;
  /** Why it cannot be used on this machine. */
  missing: string;
  /** Why it cannot be done to this model on the chosen runtimes. */
  impossible: string;
  /** Its values are those of a space that was given in code. */
  fixed: boolean;
  controls: IControl[];
}

export function Technique({ technique, fresh }: { technique: ITechnique; fresh: boolean }): ReactElement {
  const { name, label, help, count, missing, impossible, fixed, controls } = technique;
  const id = useId();
  const { ask, error } = useAsk();
  const alive = useAlive();
  const [on, change] = useDraft(technique.on, next => ask('set_technique', { name, on: next }));
  const { open, head, body } = useFold(`settings of ${name}`);
  const reason = missing || impossible;
  // What is ticked can always be unticked.
  const off = reason !== '' && !on;
  const first = controls.filter(control => control.first);
  const more = controls.filter(control => !control.first);
  const controlsOf = (which: IControl[]): ReactElement[] =>
    which.map(control => (
      <Control
        key={control.name}
        control={control}
        owner={label}
        send={values => ask('set_values', { technique: name, parameter: control.name, values })}
      />
    ));
  return (
    <div className={`dk-technique ${reason ? 'dk-impossible' : ''}`}>
      <div className="dk-technique-head dk-helped">
        <input
          id={`${id}-box`}
          type="checkbox"
          checked={on}
          disabled={!alive}
          aria-disabled={off || undefined}
          aria-describedby={`${id}-help`}
          onChange={event => off || change(event.target.checked)}
        />
        <label htmlFor={`${id}-box`} className="dk-help-name">
          {label}
        </label>
        <span className="dk-grow" />
        {on && count !== null && (
          <span className={`dk-soft dk-small ${fresh ? '' : 'dk-stale'}`}>
            {count}
            <span className="dk-unseen"> candidates</span>
          </span>
        )}
        {on && more.length > 0 && (
          <button
            className="dk-more"
            aria-label={`More settings of ${label}`}
            title={open ? 'Fewer settings' : 'More settings'}
            {...head}
          >
            <Icon name={open ? 'down' : 'right'} />
          </button>
        )}
        <Help id={`${id}-help`}>
          {help} {reason}
        </Help>
      </div>
      <Reason words={reason} />
      <Problem words={error} />
      {on && controls.length > 0 && (
        <div className="dk-technique-body">
          {fixed && <span className="dk-reason">Its values are those of the space given in code.</span>}
          {controlsOf(first)}
          <div {...body}>{open && controlsOf(more)}</div>
        </div>
      )}
    </div>
  );
}
