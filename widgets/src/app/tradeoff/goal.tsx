/** The goal as a sentence with fields, and the best so far. */

import { type ReactElement, useId } from 'react';
import { useTyped } from '../elements/field';
import { Icon } from '../elements/icons';
import { Button, Problem, useAsk } from '../elements/parts';
import { limitText } from '../format';
import { useAlive, useBench, useSection, useView } from '../store';
import { useScene } from './scene';
import type { ITradeoff } from './section';

export function Goal({ tradeoff }: { tradeoff: ITradeoff }): ReactElement {
  const bench = useBench();
  const alive = useAlive();
  const { ask, error, clear } = useAsk();
  const id = useId();
  const send = (maxDrop: number, minimize: string): Promise<unknown> =>
    ask('set_goal', { max_drop: maxDrop, minimize });
  const typed = useTyped(limitText(100 * tradeoff.maxDrop), async text => {
    const value = Number(text.replace(',', '.'));
    if (text.trim() === '' || !Number.isFinite(value)) {
      return text.trim() ? `“${text}” is not a number.` : 'Give a number, such as 1.';
    }
    await send(Number((value / 100).toPrecision(10)), tradeoff.minimize);
    return ''; // a refusal of the kernel is shown below as well
  });
  return (
    <div className="dk-goal" role="group" aria-label="Goal">
      <span className="dk-goal-words">
        <label htmlFor={`${id}-drop`}>Lose at most</label>
        <span className="dk-goal-field">
          <input
            id={`${id}-drop`}
            className="dk-input"
            type="number"
            min="0"
            max="100"
            step="0.1"
            disabled={!alive}
            aria-description={`${tradeoff.unit === 'pp' ? 'percentage points' : 'percent'} of ${tradeoff.metric}; the far end of the 95 % interval must satisfy it`}
            {...typed.input}
            onChange={event => {
              typed.input.onChange(event);
              clear();
            }}
          />
          <span aria-hidden="true">{tradeoff.unit}</span>
        </span>
        <span>{tradeoff.metric}, minimize</span>
        <select
          className="dk-select"
          aria-label="Minimize"
          disabled={!alive}
          value={tradeoff.minimize}
          onChange={event => {
            void send(tradeoff.maxDrop, event.target.value);
            bench.look({ x: event.target.value });
          }}
        >
          {tradeoff.costs.map(({ name, label }) => (
            <option key={name} value={name}>
              {label}
            </option>
          ))}
        </select>
      </span>
      <Axes tradeoff={tradeoff} />
      <Problem words={typed.wrong || error} />
    </div>
  );
}

/** Any two measures. */
function Axes({ tradeoff }: { tradeoff: ITradeoff }): ReactElement {
  const bench = useBench();
  const [x, y] = [useView(view => view.x), useView(view => view.y)];
  const choice = (label: string, value: string, other: string, pick: (name: string) => void): ReactElement => (
    <select className="dk-select" aria-label={label} value={value} onChange={event => pick(event.target.value)}>
      {tradeoff.measures.map(measure => (
        <option key={measure.name} value={measure.name} disabled={measure.name === other}>
          {measure.label}
        </option>
      ))}
    </select>
  );
  return (
    <span className="dk-goal-axes" role="group" aria-label="Axes">
      <span className="dk-soft">Axes</span>
      {choice('Vertical axis', y, x, name => bench.look({ y: name }))}
      <span aria-hidden="true">×</span>
      {choice('Horizontal axis', x, y, name => bench.look({ x: name }))}
    </span>
  );
}

/** The best so far, and the way out with it. */
export function Best({ tradeoff: { best } }: { tradeoff: ITradeoff }): ReactElement {
  const bench = useBench();
  const { select } = useScene();
  const picked = useView(view => view.a);
  const hasExport = useSection('app')?.tab !== '';
  if (best === null) {
    return <div className="dk-best dk-soft">Best so far: nothing has been measured yet.</div>;
  }
  const follows = picked === '' || picked === best.key;
  const leave = (): void => {
    if (picked !== best.key) {
      select('a', best.key); // what is named here is what is exported, also when a later one is better
    }
    bench.show('export');
  };
  return (
    <div
      className={`dk-best ${best.met ? '' : 'dk-best-missed'}`}
      role="group"
      aria-label="Best so far"
      title={best.reason}
    >
      {follows ? (
        <span className="dk-ab" role="img" aria-label="shown as A">
          A
        </span>
      ) : (
        <Button kind="quiet" className="dk-button dk-best-use" onClick={() => select('a', '')}>
          Use as A
        </Button>
      )}
      <div className="dk-best-words">
        <div className="dk-best-name">
          {!best.met && <Icon name="warning" />}
          <b>
            {best.met ? 'Best so far: ' : `${best.missed} Closest: `}
            {best.name} on {best.where}
          </b>{' '}
          {best.met ? best.speedup : best.change}
        </div>
        {best.words && <div className="dk-soft dk-small">{best.words}</div>}
      </div>
      {hasExport && (
        <Button kind="primary" onClick={leave}>
          Export…
        </Button>
      )}
    </div>
  );
}
