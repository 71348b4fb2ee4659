/** How the sweep is run: closed, since the defaults are right for most. */

import { type ReactElement, type ReactNode, useId } from 'react';
import { useTyped, Wrong } from '../elements/field';
import { Icon } from '../elements/icons';
import { Button, Problem, useAsk, useFold } from '../elements/parts';
import { plural } from '../format';
import { useAlive } from '../store';
import { useDraft } from './latest';
import { Machine } from './machine';

interface IChoice {
  value: string;
  label: string;
  help: string;
  /** Why it cannot be chosen; empty when it can. */
  reason: string;
}

/** An option of the sweep, as the kernel declares it (space/options.py). */
interface IOption {
  name: string;
  label: string;
  help: string;
  kind: 'switch' | 'choice' | 'number' | 'amount' | 'text';
  value: boolean | number | string;
  /** Of a choice. */
  choices: IChoice[];
  /** Of an amount: a number, a space and one of these. */
  units: string[];
  /** Of a number. */
  unit: string;
  /** Whether a number must be whole. */
  whole: boolean;
  /** Whether a text may be the address of a machine. */
  address: boolean;
}

export interface IOptions {
  controls: IOption[];
  /** How many options differ from their defaults. */
  changed: number;
}

export function Options({ options }: { options: IOptions }): ReactElement {
  const { open, head, body } = useFold('Sweep options');
  return (
    <section className="dk-space-part">
      <h4>
        <button className="dk-more" {...head}>
          <Icon name={open ? 'down' : 'right'} />
          Sweep options
          {options.changed > 0 && <span className="dk-soft"> · {plural(options.changed, 'change')}</span>}
        </button>
      </h4>
      <div {...body}>{open && <Settings options={options} />}</div>
    </section>
  );
}

function Settings({ options }: { options: IOptions }): ReactElement {
  const { ask, error } = useAsk();
  return (
    <div className="dk-options">
      {options.controls.map(option => {
        const Control = CONTROLS[option.kind];
        const send = (value: unknown): Promise<unknown> => ask('set_option', { name: option.name, value });
        return <Control key={option.name} option={option} send={send} />;
      })}
      {options.changed > 0 && (
        <Button kind="link" onClick={() => void ask('reset_options')}>
          Restore defaults
        </Button>
      )}
      <Problem words={error} />
    </div>
  );
}

interface IProps {
  option: IOption;
  /** A refusal is shown below all options. */
  send: (value: unknown) => Promise<unknown>;
}

const CONTROLS: Record<IOption['kind'], (props: IProps) => ReactElement> = {
  switch: Switch,
  choice: Choice,
  number: Typed,
  amount: Amount,
  text: Typed
};

function Row({
  id,
  label,
  help,
  children
}: {
  id: string;
  label: string;
  help?: string;
  children: ReactNode;
}): ReactElement {
  return (
    <div className="dk-option">
      <label htmlFor={id}>{label}</label>
      {children}
      {help && (
        <span id={`${id}-help`} className="dk-reason">
          {help}
        </span>
      )}
    </div>
  );
}

/** A number, or text. */
function Typed({ option, send }: IProps): ReactElement {
  const id = useId();
  const alive = useAlive();
  const number = option.kind === 'number';
  const typed = useTyped(String(option.value), async text => {
    const bare = text.trim();
    if (bare === '' || !number) {
      await (bare && send(bare));
      return '';
    }
    if (!Number.isFinite(Number(bare)) || (option.whole && !/^-?\d+$/.test(bare))) {
      return `“${text}” is not a ${option.whole ? 'whole ' : ''}number.`;
    }
    await send(Number(bare));
    return '';
  });
  return (
    <Row id={id} label={option.label} help={option.help}>
      <input
        id={id}
        className={number ? 'dk-input dk-number' : 'dk-input'}
        inputMode={number ? 'decimal' : 'text'}
        size={number ? 4 : 16}
        aria-describedby={option.help ? `${id}-help` : undefined}
        disabled={!alive}
        {...typed.input}
      />
      {option.unit && <span className="dk-soft dk-small">{option.unit}</span>}
      <Wrong typed={typed} />
      {option.address && <Machine name={option.name} text={typed.input.value} />}
    </Row>
  );
}

function Switch({ option, send }: IProps): ReactElement {
  const id = useId();
  const alive = useAlive();
  const [on, change] = useDraft(option.value === true, send);
  return (
    <div className="dk-option dk-option-tick">
      <input
        id={id}
        type="checkbox"
        checked={on}
        disabled={!alive}
        aria-describedby={`${id}-help`}
        onChange={event => change(event.target.checked)}
      />
      <label htmlFor={id}>{option.label}</label>
      <span id={`${id}-help`} className="dk-reason">
        {option.help}
      </span>
    </div>
  );
}

function Choice({ option, send }: IProps): ReactElement {
  const id = useId();
  const alive = useAlive();
  const [value, change] = useDraft(String(option.value), send);
  const chosen = option.choices.find(choice => choice.value === value);
  const reasons = [...new Set(option.choices.map(choice => choice.reason).filter(Boolean))].join(' ');
  return (
    <Row id={id} label={option.label} help={reasons || chosen?.help || option.help}>
      <select
        id={id}
        className="dk-select"
        value={value}
        disabled={!alive}
        aria-describedby={`${id}-help`}
        onChange={event => change(event.target.value)}
      >
        {option.choices.map(choice => (
          <option key={choice.value} value={choice.value} disabled={Boolean(choice.reason)}>
            {choice.label}
          </option>
        ))}
      </select>
    </Row>
  );
}

/** A number with one of several units. */
function Amount({ option, send }: IProps): ReactElement {
  const id = useId();
  const alive = useAlive();
  const [number = '', unit = ''] = String(option.value).split(' ');
  const put = (count: string, of: string): Promise<unknown> => send(`${count.trim()} ${of}`);
  const typed = useTyped(number, async text => {
    if (text.trim() !== '') {
      await put(text, unit);
    }
    return '';
  });
  return (
    <Row id={id} label={option.label} help={option.help}>
      <span className="dk-amount">
        <input id={id} className="dk-input dk-number" inputMode="decimal" size={4} disabled={!alive} {...typed.input} />
        <select
          className="dk-select"
          aria-label={`Unit of ${option.label.toLowerCase()}`}
          disabled={!alive}
          value={unit}
          onChange={event => void put(typed.input.value, event.target.value)}
        >
          {option.units.map(name => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </span>
    </Row>
  );
}
