/** Controls made from declared parameters: each offers the values to try, not one value. */

import { type ReactElement, useId, useRef, useState } from 'react';
import { useRoving } from '../candidate/parts';
import { useTyped, Wrong } from '../elements/field';
import { Icon } from '../elements/icons';
import { Problem, Toggle } from '../elements/parts';
import { useAlive } from '../store';
import { Help, Reason } from './help';
import { useDraft } from './latest';
import { RangeSlider } from './slider';
import {
  asList,
  typed as asTyped,
  between,
  type IControl,
  listed,
  parsed,
  sorted,
  spread,
  stepOf,
  unitOf,
  type Value
} from './values';

interface IProps {
  control: IControl;
  /** What the parameter belongs to, for screen readers. */
  owner: string;
  send: (values: Value[]) => Promise<unknown>;
}

interface IInner {
  control: IControl;
  owner: string;
  values: readonly Value[];
  change: (values: Value[]) => void;
  disabled: boolean;
  /** Of the help. */
  describedBy: string;
  labelledBy: string;
}

export function Control({ control, owner, send }: IProps): ReactElement {
  const id = useId();
  const alive = useAlive();
  const [values, change] = useDraft<readonly Value[]>(control.values, next => send([...next]));
  const inner: IInner = {
    control,
    owner,
    values,
    change,
    disabled: control.fixed || !alive,
    describedBy: `${id}-help`,
    labelledBy: `${id}-label`
  };
  const Inner = INNER[control.kind];
  return (
    <div className={`dk-control dk-control-${control.kind} dk-helped`} role="group" aria-labelledby={inner.labelledBy}>
      <Inner {...inner} />
      <Help id={inner.describedBy}>{control.help}</Help>
      <Problem words={control.problem} />
    </div>
  );
}

const INNER: Record<IControl['kind'], (props: IInner) => ReactElement> = {
  range: Range,
  numbers: Numbers,
  choices: Choices,
  names: Names,
  paths: Names
};

function Label({ id, control }: { id: string; control: IControl }): ReactElement {
  return (
    <span id={id} className="dk-control-label dk-help-name">
      {control.label}
    </span>
  );
}

/** Two ends, a step, and the values themselves where they have no step. */
function Range({ control, owner, values, change, disabled, describedBy, labelledBy }: IInner): ReactElement {
  const scale = { minimum: control.minimum ?? 0, maximum: control.maximum ?? 1, step: control.step ?? 1 };
  const { share, unit } = control;
  const numbers = sorted(values.filter(v => typeof v === 'number'));
  // While the ends are moved, what they pass over comes back when they return.
  const origin = useRef<number[] | null>(null);
  const from = numbers[0] ?? scale.minimum;
  const to = numbers.at(-1) ?? from;
  const step = stepOf(numbers);
  const label = `${control.label}, ${owner}`;
  const move = (low: number, high: number): void => change(between(origin.current ?? numbers, low, high));
  const field = { share, disabled, describedBy };
  return (
    <>
      <div className="dk-range-line">
        <Label id={labelledBy} control={control} />
        <RangeSlider
          {...scale}
          share={share}
          unit={unit}
          label={label}
          values={numbers}
          disabled={disabled}
          describedBy={describedBy}
          onMove={move}
          onHold={held => {
            origin.current = held ? (origin.current ?? numbers) : null;
          }}
        />
      </div>
      <div className="dk-range-fields">
        <NumberField
          {...field}
          label={`${label}, from`}
          value={from}
          low={scale.minimum}
          high={to}
          commit={value => change(between(numbers, value, to))}
        />
        <span aria-hidden="true">–</span>
        <NumberField
          {...field}
          label={`${label}, to`}
          value={to}
          low={from}
          high={scale.maximum}
          commit={value => change(between(numbers, from, value))}
        />
        <span>{unitOf(control)}</span>
        <span>step</span>
        <NumberField
          {...field}
          label={`${label}, step`}
          placeholder={step === null ? '…' : ''}
          value={step || null}
          low={Math.min(scale.step, to - from) / 5}
          high={to - from}
          disabled={disabled || from === to}
          commit={value => change(spread(from, to, value))}
        />
      </div>
      {step === null && <NumberChips {...{ control, numbers, change, disabled }} />}
    </>
  );
}

/** Values without a common step. */
function NumberChips({
  control,
  numbers,
  change,
  disabled
}: {
  control: IControl;
  numbers: number[];
  change: (values: Value[]) => void;
  disabled: boolean;
}): ReactElement {
  const add = (value: number): void => change(sorted([...numbers, value]));
  return (
    <ul className="dk-chips" aria-label={`${control.label}, values to try`}>
      {numbers.map(value => (
        <li key={value}>
          <Removable
            words={asTyped(value, control)}
            disabled={disabled}
            onRemove={() => change(numbers.filter(v => v !== value))}
          />
        </li>
      ))}
      <li>
        <NumberField
          share={control.share}
          label={`${control.label}, another value`}
          placeholder="add"
          value={null}
          low={control.minimum ?? Number.NEGATIVE_INFINITY}
          high={control.maximum ?? Number.POSITIVE_INFINITY}
          disabled={disabled}
          commit={add}
        />
      </li>
    </ul>
  );
}

export function Removable({
  words,
  disabled,
  onRemove
}: {
  words: string;
  disabled: boolean;
  onRemove: () => void;
}): ReactElement {
  return (
    <span className="dk-chip dk-on dk-removable">
      <span className="dk-removable-words">{words}</span>
      <button type="button" aria-label={`Remove ${words}`} disabled={disabled} onClick={onRemove}>
        <Icon name="close" />
      </button>
    </span>
  );
}

interface INumberField {
  label: string;
  value: number | null;
  low: number;
  high: number;
  share: boolean;
  disabled: boolean;
  commit: (value: number) => void;
  describedBy?: string;
  placeholder?: string;
}

/**
 * A number that counts once Enter is pressed or the field is left. One that cannot be used is not taken: the last good
 * one comes back, with the reason.
 */
function NumberField(props: INumberField): ReactElement {
  const { label, value, low, high, share, disabled, commit, describedBy, placeholder = '' } = props;
  const typed = useTyped(value === null ? '' : asTyped(value, { share }), text => {
    const number = parsed(text, { share });
    if (text.trim() === '') {
      return '';
    }
    if (Number.isNaN(number)) {
      return `“${text}” is not a number.`;
    }
    if (number < low || number > high) {
      return `${text} is not ${boundsOf(low, high, bound => asTyped(bound, { share }))}.`;
    }
    commit(number);
    return '';
  });
  return (
    <>
      <input
        className="dk-input dk-number"
        inputMode="decimal"
        size={4}
        aria-label={label}
        aria-describedby={typed.wrong ? typed.reason : describedBy}
        placeholder={placeholder}
        disabled={disabled}
        {...typed.input}
      />
      <Wrong typed={typed} />
    </>
  );
}

function boundsOf(low: number, high: number, words: (value: number) => string): string {
  if (!Number.isFinite(high)) {
    return `at least ${words(low)}`;
  }
  return Number.isFinite(low) ? `from ${words(low)} to ${words(high)}` : `at most ${words(high)}`;
}

/** Numbers separated by commas. */
function Numbers({ control, owner, values, change, disabled, describedBy, labelledBy }: IInner): ReactElement {
  const shown = asList(values, control);
  const [text, setText] = useState<string | null>(null);
  const done = (): void => {
    // The last good value is sent as well after a refusal, whose reason would stay.
    if (text !== null && (text !== shown || control.problem)) {
      change(listed(text, control));
    }
    setText(null);
  };
  return (
    <div className="dk-control-line">
      <span id={labelledBy} className="dk-control-label dk-help-name">
        {control.label}
      </span>
      <input
        className="dk-input"
        style={{ width: `${Math.max(3, (text ?? shown).length) + 2.5}ch` }}
        aria-label={`${control.label}, ${owner}: values to try, separated by commas`}
        aria-describedby={describedBy}
        aria-invalid={control.problem !== '' || undefined}
        placeholder={control.empty}
        disabled={disabled}
        value={text ?? shown}
        onChange={event => setText(event.target.value)}
        onBlur={done}
        onKeyDown={event => event.key === 'Enter' && done()}
      />
      {!control.label.toLowerCase().endsWith(control.unit) && (
        <span className="dk-soft dk-small">{unitOf(control)}</span>
      )}
    </div>
  );
}

/** Buttons that stay pressed, several at a time. */
function Choices({ control, values, change, disabled, describedBy, labelledBy }: IInner): ReactElement {
  const id = useId();
  const roving = useRoving(1, control.choices.length);
  const reasons = [...new Set(control.choices.map(choice => choice.reason).filter(Boolean))];
  return (
    <>
      <Label id={labelledBy} control={control} />
      {/* biome-ignore lint/a11y/noStaticElementInteractions: arrow keys among the buttons in it, which are one tab stop */}
      <div className="dk-chips" onKeyDown={roving.onKeyDown} onFocus={roving.onFocus}>
        {control.choices.map((choice, place) => {
          const pressed = values.includes(choice.value);
          // What is pressed can always be released.
          const off = choice.reason !== '' && !pressed;
          const about = choice.reason ? `${describedBy} ${id}-${reasons.indexOf(choice.reason)}` : describedBy;
          return (
            <Toggle
              key={String(choice.value)}
              data-item
              tabIndex={roving.stop(place)}
              pressed={pressed}
              disabled={disabled}
              aria-disabled={off || undefined}
              aria-describedby={about}
              className={choice.reason ? 'dk-impossible' : ''}
              onClick={() => {
                if (!off) {
                  change(pressed ? values.filter(v => v !== choice.value) : [...values, choice.value]);
                }
              }}
            >
              {choice.label}
            </Toggle>
          );
        })}
      </div>
      {reasons.map((reason, i) => {
        const names = control.choices.filter(choice => choice.reason === reason).map(choice => choice.label);
        return <Reason key={reason} id={`${id}-${i}`} words={`${names.join(', ')}: ${reason}`} />;
      })}
    </>
  );
}

/** Sets of names: each is tried, and so is the empty one. */
function Names({ control, owner, values, change, disabled, describedBy, labelledBy }: IInner): ReactElement {
  const [text, setText] = useState('');
  const sets = values.map(String);
  const [one, hint] =
    control.kind === 'paths'
      ? ['file', 'path of a file']
      : ['set of names, separated by commas', 'names, separated by commas'];
  const add = (): void => {
    if (text.trim() !== '') {
      // The usual case: one set instead of none.
      change([...(sets.length === 1 && sets[0] === '' ? [] : sets), text.trim()]);
      setText('');
    }
  };
  return (
    <>
      <Label id={labelledBy} control={control} />
      <ul className="dk-chips" aria-label={`${control.label}, ${control.kind === 'paths' ? 'files' : 'sets'} to try`}>
        {sets.map(set => (
          <li key={set}>
            <Removable
              words={set || 'none'}
              disabled={disabled || (set === '' && sets.length === 1)}
              onRemove={() => change(sets.length === 1 ? [''] : sets.filter(s => s !== set))}
            />
          </li>
        ))}
        {control.kind === 'names' && !sets.includes('') && !disabled && (
          <li>
            <button type="button" className="dk-chip" onClick={() => change(['', ...sets])}>
              + none
            </button>
          </li>
        )}
      </ul>
      <div className="dk-names-add">
        <input
          className="dk-input"
          aria-label={`${control.label}, ${owner}: another ${one}`}
          aria-describedby={describedBy}
          placeholder={hint}
          disabled={disabled}
          value={text}
          onChange={event => setText(event.target.value)}
          onKeyDown={event => event.key === 'Enter' && add()}
        />
        <button type="button" className="dk-button" disabled={disabled} onClick={add}>
          Add
        </button>
      </div>
    </>
  );
}
