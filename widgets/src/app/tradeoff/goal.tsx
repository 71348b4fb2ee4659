/** The goal as a sentence with fields, and the best so far. */

import { type ReactElement, useEffect, useId, useState } from 'react';
import { Button, Problem, useAsk } from '../parts';
import { useAlive, useBench, useSection, useView } from '../store';
import type { ITradeoff } from '../tradeoff';

export function Goal({ tradeoff }: { tradeoff: ITradeoff }): ReactElement {
  const bench = useBench();
  const alive = useAlive();
  const { ask, error } = useAsk();
  const [wanted, setWanted] = useState(inUnits(tradeoff.maxDrop));
  const id = useId();
  useEffect(() => setWanted(inUnits(tradeoff.maxDrop)), [tradeoff.maxDrop]);
  const send = (maxDrop: number, minimize: string): void => void ask('set_goal', { max_drop: maxDrop, minimize });
  const commit = (): void => {
    const value = Number(wanted.replace(',', '.'));
    if (wanted.trim() !== '' && Number.isFinite(value)) {
      if (value / 100 !== tradeoff.maxDrop) {
        send(value / 100, tradeoff.minimize);
      }
    } else {
      setWanted(inUnits(tradeoff.maxDrop));
    }
  };
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
            value={wanted}
            aria-description={`${tradeoff.unit === 'pp' ? 'percentage points' : 'percent'} of ${tradeoff.metric}; the far end of the 95 % interval must satisfy it`}
            onChange={event => setWanted(event.target.value)}
            onBlur={commit}
            onKeyDown={event => event.key === 'Enter' && commit()}
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
            send(tradeoff.maxDrop, event.target.value);
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
      <Problem words={error} />
    </div>
  );
}

function inUnits(maxDrop: number): string {
  return (100 * maxDrop).toFixed(2).replace(/0$/, '');
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
  const picked = useView(view => view.a);
  const hasExport = useSection('app')?.tab !== '';
  if (best === null) {
    return <div className="dk-best dk-soft">Best so far: nothing is measured yet.</div>;
  }
  const follows = picked === '' || picked === best.key;
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
        <Button kind="quiet" className="dk-button dk-best-use" onClick={() => bench.look({ a: '' })}>
          Use as A
        </Button>
      )}
      <div className="dk-best-words">
        <div className="dk-best-name">
          <b>
            {best.met ? 'Best so far: ' : `${best.missed} Closest: `}
            {best.name} on {best.where}
          </b>{' '}
          {best.met ? best.speedup : best.change}
        </div>
        {best.words && <div className="dk-soft dk-small">{best.words}</div>}
      </div>
      {hasExport && (
        <Button kind="primary" onClick={() => bench.show('export')}>
          Export…
        </Button>
      )}
    </div>
  );
}
