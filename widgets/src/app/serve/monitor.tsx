/** The server's monitor: alarms, evidence of drift against its threshold, features that moved, latency bands. */

import { type ReactElement, useEffect, useState } from 'react';
import { Note, Part, Problem } from '../elements/parts';
import { useBench } from '../store';

export interface IInterval {
  value: number;
  low: number;
  high: number;
}

export interface IStage {
  stage: string;
  requests: number;
  p50_ms: IInterval | null;
  p99_ms: IInterval | null;
  exported_p99_ms: number | null;
}

export interface IFeature {
  name: string;
  /** In widths of the band within which all is well. */
  shift: number;
}

export interface IWatchedModel {
  name: string;
  version: string;
  performance: { stages: IStage[] } | null;
  drift: { text: string; evidence: number; threshold: number; alarm: boolean; features: IFeature[] } | null;
  accuracy: { text: string } | null;
  note: string;
}

export interface IAlarm {
  kind: string;
  model: string;
  version: string;
  text: string;
}

export interface IMonitor {
  models: IWatchedModel[];
  alarms: IAlarm[];
  problems: string[];
  /** Points of the past of the models, in their order; times are seconds since 1970. */
  history: { at: number; evidence?: number | null }[][];
}

const POLL_MS = 2000;
const SHOWN_FEATURES = 8;
/** Widths of the band that a bar shows at most. */
const MOST_SHIFT = 6;
const [WIDE, HIGH, MARGIN] = [600, 90, 4];

/** Asked for every two seconds while it is seen. */
export function Monitored(): ReactElement | null {
  const bench = useBench();
  const [found, setFound] = useState<IMonitor | null>(null);
  const [error, setError] = useState('');
  useEffect(() => {
    let timer = 0;
    let wanted = true;
    const look = async (): Promise<void> => {
      if (!document.hidden) {
        try {
          const { value } = await bench.link.ask<IMonitor | null>('monitor');
          if (wanted && value) {
            setFound(value);
            setError('');
          }
        } catch (failure) {
          setError(failure instanceof Error ? failure.message : String(failure));
          return;
        }
      }
      if (wanted) {
        timer = window.setTimeout(() => void look(), POLL_MS);
      }
    };
    void look();
    return () => {
      wanted = false;
      window.clearTimeout(timer);
    };
  }, [bench]);
  if (found === null) {
    return error ? <Problem words={error} /> : null;
  }
  return (
    <Part title="Monitor">
      <Panel found={found} />
      <Problem words={error} />
    </Part>
  );
}

export function Panel({ found }: { found: IMonitor }): ReactElement {
  return (
    <>
      <div role="status">
        {found.alarms.length === 0 ? (
          <Note>No alarms.</Note>
        ) : (
          <ul className="dk-alarms">
            {found.alarms.map(alarm => (
              <li key={`${alarm.kind} ${alarm.model} ${alarm.version}`}>
                <b>Alarm</b> {alarm.model && `${alarm.model}/${alarm.version}: `}
                {alarm.text}
              </li>
            ))}
          </ul>
        )}
      </div>
      {found.models.map((model, place) => (
        <Model key={`${model.name} ${model.version}`} model={model} history={found.history[place] ?? []} />
      ))}
      {found.problems.map(problem => (
        <Problem key={problem} words={problem} />
      ))}
    </>
  );
}

function Model({ model, history }: { model: IWatchedModel; history: IMonitor['history'][number] }): ReactElement {
  const run = model.performance?.stages.find(({ stage }) => stage === 'run');
  const { drift } = model;
  return (
    <section aria-label={`${model.name}, version ${model.version}`}>
      <h4 className="dk-watched">
        {model.name}, version {model.version}
      </h4>
      {run?.p99_ms && run.p50_ms && <p>{bands(run)}</p>}
      {drift && !drift.alarm && <p>{drift.text}</p>}
      {model.accuracy && <p>{model.accuracy.text}</p>}
      {model.note && <Note>{model.note}</Note>}
      {drift && <Evidence drift={drift} history={history} />}
      {drift && drift.features.length > 0 && <Features features={drift.features.slice(0, SHOWN_FEATURES)} />}
    </section>
  );
}

/** Median and 99th percentile of the run stage with their intervals, beside what was exported. */
export function bands({ p50_ms, p99_ms, exported_p99_ms }: IStage): string {
  const figure = (one: IInterval | null): string =>
    one === null ? '—' : `${digits(one.value)} ms (${digits(one.low)} to ${digits(one.high)})`;
  const exported = exported_p99_ms === null ? '' : `, ${digits(exported_p99_ms)} ms when exported`;
  return `Run stage: median ${figure(p50_ms)}, 99th percentile ${figure(p99_ms)}${exported}.`;
}

const digits = (value: number): string => value.toPrecision(3);

/** Evidence over time on a logarithmic scale; the dashed line is where the alarm is raised. */
function Evidence({
  drift,
  history
}: {
  drift: NonNullable<IWatchedModel['drift']>;
  history: IMonitor['history'][number];
}): ReactElement | null {
  const points = history.flatMap(({ at, evidence }) => (evidence ? [{ at, log: Math.log10(evidence) }] : []));
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last || first === last) {
    return null;
  }
  const limit = Math.log10(drift.threshold);
  const logs = [...points.map(({ log }) => log), limit];
  const [low, high] = [Math.min(...logs) - 0.3, Math.max(...logs) + 0.3];
  const y = (log: number): number => HIGH - MARGIN - ((HIGH - 2 * MARGIN) * (log - low)) / (high - low);
  const x = (at: number): number => (WIDE * (at - first.at)) / Math.max(last.at - first.at, 1e-9);
  const path = points.map(({ at, log }, k) => `${k ? 'L' : 'M'}${x(at).toFixed(1)} ${y(log).toFixed(1)}`).join('');
  const words = `Evidence of drift, logarithmic: ${digits(drift.evidence)} now, alarm at ${drift.threshold}`;
  return (
    <svg
      className="dk-drift-line"
      viewBox={`0 0 ${WIDE} ${HIGH}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={words}
    >
      <line x1={0} x2={WIDE} y1={y(limit)} y2={y(limit)} />
      <path d={path} />
    </svg>
  );
}

/** How far features have moved, in widths of the band within which all is well. */
function Features({ features }: { features: readonly IFeature[] }): ReactElement {
  return (
    <table className="dk-features">
      <thead>
        <tr>
          <th scope="col">Feature</th>
          <th scope="col">Shift, bands</th>
          <td />
        </tr>
      </thead>
      <tbody>
        {features.map(({ name, shift }) => {
          const width = (50 * Math.min(Math.abs(shift), MOST_SHIFT)) / MOST_SHIFT;
          return (
            <tr key={name} className={Math.abs(shift) > 1 ? 'dk-moved' : undefined}>
              <th scope="row">{name}</th>
              <td>{shift.toFixed(1)}</td>
              <td aria-hidden="true">
                <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
                  <rect x={shift < 0 ? 50 - width : 50} y={1} width={width} height={8} />
                </svg>
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
