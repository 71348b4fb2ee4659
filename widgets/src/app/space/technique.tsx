/** A technique: a check box, and its controls while it is ticked. */

import { type ReactElement, useId } from 'react';
import { Icon } from '../elements/icons';
import { Problem, useAsk, useFold } from '../elements/parts';
import { useAlive } from '../store';
import { Control } from './controls';
import { Help, Reason } from './help';
import { useDraft } from './latest';
import { asList, type IControl, sorted, stepOf, typed, unitOf } from './values';

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

/** Tab stops of controls that are shown without being asked for; where there are more, each technique starts closed. */
const MOST_STOPS = 12;

function stopsOf({ kind, values }: IControl): number {
  switch (kind) {
    case 'range': // two thumbs and three fields; values without a common step have a button each
      return 5 + (stepOf(sorted(values.filter(value => typeof value === 'number'))) === null ? values.length + 1 : 0);
    case 'names':
    case 'paths':
      return values.length + 2;
    default:
      return 1;
  }
}

/** Whether the techniques that are ticked have so many controls that each shows a line instead of its own. */
export function isCrowded(techniques: readonly ITechnique[]): boolean {
  const shown = techniques.filter(({ on }) => on).flatMap(({ controls }) => controls.filter(({ first }) => first));
  return shown.reduce((sum, control) => sum + stopsOf(control), 0) > MOST_STOPS;
}

/** What a control tries, in a few words: `sparsity 50–90 %`. */
function summary(control: IControl): string {
  const named = control.choices.filter(({ value }) => control.values.includes(value)).map(({ label }) => label);
  const numbers = control.values.filter(value => typeof value === 'number');
  const said =
    control.kind === 'range' && numbers.length > 1
      ? `${typed(Math.min(...numbers), control)}–${typed(Math.max(...numbers), control)}`
      : named.length > 0
        ? named.join(', ')
        : asList(control.values, control) || (control.automatic ? 'automatic' : 'none');
  return `${control.label} ${said} ${control.kind === 'range' ? unitOf(control) : ''}`.trim();
}

export function Technique({
  technique,
  fresh,
  crowded
}: {
  technique: ITechnique;
  fresh: boolean;
  crowded: boolean;
}): ReactElement {
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
  const folded = crowded ? [...first, ...controls.filter(control => !control.first)] : controls.filter(c => !c.first);
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
        {on && folded.length > 0 && (
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
          {fixed && <span className="dk-reason">The values come from the space given in code.</span>}
          {!crowded && controlsOf(first)}
          {crowded && !open && <span className="dk-reason">{first.map(summary).join(' · ')}</span>}
          <div {...body}>{open && controlsOf(folded)}</div>
        </div>
      )}
    </div>
  );
}
