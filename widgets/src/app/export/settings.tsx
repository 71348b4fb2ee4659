/** Settings of an export layout, made from its declared parameters: one value each. */

import { type ReactElement, useId } from 'react';
import { asList, type IControl, parsed, unitOf, type Value } from '../space/values';

type Values = Readonly<Record<string, Value>>;

function current({ name, values }: IControl, typed: Values): Value {
  return (name in typed ? typed[name] : values[0]) ?? null;
}

/** The values of all settings: numbers from what was typed; text that is not a number stays text for the kernel. */
export function settled(settings: readonly IControl[], typed: Values): Values {
  return Object.fromEntries(
    settings.map(control => {
      const value = current(control, typed);
      if (typeof value !== 'string' || control.kind === 'choices' || control.kind === 'names') {
        return [control.name, value];
      }
      const number = parsed(value, control);
      return [control.name, Number.isFinite(number) ? number : value.trim() === '' && control.automatic ? null : value];
    })
  );
}

export function Settings({
  owner,
  settings,
  typed,
  change
}: {
  /** The layout, for screen readers. */
  owner: string;
  settings: readonly IControl[];
  typed: Values;
  change: (values: Values) => void;
}): ReactElement {
  return (
    <div className="dk-settings" role="group" aria-label={`Settings of ${owner}`}>
      {settings.map(control => (
        <Setting
          key={control.name}
          control={control}
          value={current(control, typed)}
          change={value => change({ ...typed, [control.name]: value })}
        />
      ))}
    </div>
  );
}

function Setting({
  control,
  value,
  change
}: {
  control: IControl;
  value: Value;
  change: (value: Value) => void;
}): ReactElement {
  const id = useId();
  const { label, kind, help, choices, automatic } = control;
  const about = { id, 'aria-describedby': `${id}-help` };
  return (
    <div className="dk-line">
      <label htmlFor={id}>{label}</label>
      {kind === 'choices' ? (
        <select
          {...about}
          className="dk-input"
          value={choices.findIndex(choice => choice.value === value)}
          onChange={event => change(choices[Number(event.target.value)]?.value ?? null)}
        >
          {choices.map((choice, place) => (
            <option key={choice.label} value={place}>
              {choice.label}
            </option>
          ))}
        </select>
      ) : (
        <input
          {...about}
          className={`dk-input ${kind === 'names' ? 'dk-grow' : 'dk-short'}`}
          inputMode={kind === 'names' ? 'text' : 'decimal'}
          spellCheck={false}
          placeholder={automatic ? 'automatic' : ''}
          value={asList([value], control)}
          onChange={event => change(event.target.value)}
        />
      )}
      {kind !== 'choices' && <span className="dk-soft dk-small">{unitOf(control)}</span>}
      <span id={`${id}-help`} className="dk-setting-help dk-soft dk-small">
        {help}
      </span>
    </div>
  );
}
