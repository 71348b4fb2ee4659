/** How the sweep is run: closed, since the defaults are right for most. */

import { type ReactElement, type ReactNode, useId } from 'react';
import { useTyped, Wrong } from '../elements/field';
import { Icon } from '../elements/icons';
import { Button, Problem, useAsk, useFold } from '../elements/parts';
import { limitText, plural } from '../format';
import { useAlive, useSection } from '../store';
import { useDraft } from './latest';

interface IChoice {
  value: string;
  label: string;
  help: string;
  /** Why it cannot be had. */
  reason?: string;
}

export interface IOptions {
  launches: number;
  losers: string;
  losersChoices: IChoice[];
  /** Largest loss of the goal, as a share. */
  maxDrop: number;
  adaptive: boolean;
  sensitivity: boolean;
  search: string;
  searchChoices: IChoice[];
  budget: string;
  /** How many differ from the defaults. */
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
  const set = (name: string, value: unknown): Promise<unknown> => ask('set_option', { name, value });
  const limit = `${limitText(100 * options.maxDrop)} ${useSection('tradeoff')?.unit ?? 'pp'}`;
  return (
    <div className="dk-options">
      <Launches value={options.launches} send={launches => ask('set_launches', { launches })} />
      <Tick
        label="Time promising candidates longer"
        help="Candidates that are slower than another one (95 % confidence) and no more accurate get only three launches."
        value={options.adaptive}
        send={value => set('adaptive', value)}
      />
      <Select
        label={`Candidates that lose more than ${limit} (95 % confidence)`}
        choices={options.losersChoices}
        value={options.losers}
        send={value => set('losers', value)}
      />
      <Tick
        label="Find the layers a technique harms most"
        help="Applies each technique to one layer at a time, and tries the most promising exclusions."
        value={options.sensitivity}
        send={value => set('sensitivity', value)}
      />
      <Select
        label="Candidates to try"
        choices={options.searchChoices}
        value={options.search}
        send={value => set('search', value)}
      />
      {options.search !== 'grid' && <Budget value={options.budget} send={value => set('budget', value)} />}
      {options.changed > 0 && (
        <Button kind="link" onClick={() => void ask('reset_options')}>
          Restore defaults
        </Button>
      )}
      <Problem words={error} />
    </div>
  );
}

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

function Launches({ value, send }: { value: number; send: (value: number) => Promise<unknown> }): ReactElement {
  const id = useId();
  const alive = useAlive();
  const typed = useTyped(String(value), async text => {
    if (!/^\d+$/.test(text.trim())) {
      return text.trim() ? `“${text}” is not a whole number.` : '';
    }
    await send(Number(text)); // a refusal is shown below all options
    return '';
  });
  return (
    <Row
      id={id}
      label="Timing launches per candidate"
      help="10 give reliable intervals; fewer are faster but give wider ones."
    >
      <input
        id={id}
        className="dk-input dk-number"
        inputMode="numeric"
        size={4}
        aria-describedby={`${id}-help`}
        disabled={!alive}
        {...typed.input}
      />
      <Wrong typed={typed} />
    </Row>
  );
}

function Tick(props: {
  label: string;
  help: string;
  value: boolean;
  send: (value: boolean) => Promise<unknown>;
}): ReactElement {
  const id = useId();
  const alive = useAlive();
  const [on, change] = useDraft(props.value, props.send);
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
      <label htmlFor={id}>{props.label}</label>
      <span id={`${id}-help`} className="dk-reason">
        {props.help}
      </span>
    </div>
  );
}

function Select(props: {
  label: string;
  choices: IChoice[];
  value: string;
  send: (value: string) => Promise<unknown>;
}): ReactElement {
  const id = useId();
  const alive = useAlive();
  const [value, change] = useDraft(props.value, props.send);
  const chosen = props.choices.find(choice => choice.value === value);
  const reasons = [...new Set(props.choices.map(choice => choice.reason).filter(Boolean))].join(' ');
  return (
    <Row id={id} label={props.label} help={reasons || chosen?.help}>
      <select
        id={id}
        className="dk-select"
        value={value}
        disabled={!alive}
        aria-describedby={`${id}-help`}
        onChange={event => change(event.target.value)}
      >
        {props.choices.map(choice => (
          <option key={choice.value} value={choice.value} disabled={Boolean(choice.reason)}>
            {choice.label}
          </option>
        ))}
      </select>
    </Row>
  );
}

const UNITS = ['candidates', 's', 'min', 'h'];

function Budget({ value, send }: { value: string; send: (value: string) => Promise<unknown> }): ReactElement {
  const id = useId();
  const alive = useAlive();
  const [number = '30', unit = 'candidates'] = value ? value.split(' ') : [];
  const put = (count: string, of: string): Promise<unknown> => send(`${count.trim()} ${of}`);
  const typed = useTyped(number, async text => {
    if (text.trim() !== '') {
      await put(text, unit); // a refusal is shown below all options
    }
    return '';
  });
  return (
    <Row id={id} label="Budget">
      <span className="dk-budget">
        <input id={id} className="dk-input dk-number" inputMode="decimal" size={4} disabled={!alive} {...typed.input} />
        <select
          className="dk-select"
          aria-label="Unit of the budget"
          disabled={!alive}
          value={unit}
          onChange={event => void put(typed.input.value, event.target.value)}
        >
          {UNITS.map(name => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </span>
    </Row>
  );
}
