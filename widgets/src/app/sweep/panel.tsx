/** Sweep: what runs now, what is left; pause, resume, cancel. */

import { type ReactElement, useEffect, useState } from 'react';
import { Button, Problem, useAsk, usePanelProblem } from '../elements/parts';
import { type Bench, useAlive, useBench, useSection } from '../store';

export interface ISweep {
  state: 'idle' | 'starting' | 'running' | 'paused' | 'cancelling' | 'cancelled' | 'failed' | 'done';
  /** What happens, its first words in bold. */
  bold: string;
  words: string;
  soft: string;
  left: string;
  /** Shares of the expected time that are over, and the same in words. */
  bar: { done: number; failed: number; words: string };
}

declare module '../protocol' {
  interface ISections {
    sweep: ISweep;
  }
}

/** Why it can be neither paused nor resumed just now. */
const UNPAUSABLE: Partial<Record<ISweep['state'], string>> = {
  starting: 'The sweep is still starting.',
  cancelling: 'The sweep is being cancelled.'
};
const FOLD_AFTER_MS = 5000;
/** States in which nothing else may be started. */
export const ACTIVE = new Set(['starting', 'running', 'paused', 'cancelling']);

export default function Strip(): ReactElement | null {
  const sweep = useSection('sweep');
  const problem = usePanelProblem('sweep');
  const { ask, error } = useAsk();
  const alive = useAlive();
  useAnnounced(sweep);
  const folded = useFolded(sweep?.state === 'done' && !problem);
  if (sweep === undefined || (sweep.state === 'idle' && !problem)) {
    return null;
  }
  const active = ACTIVE.has(sweep.state);
  const stopped = active && !alive ? 'The kernel stopped, and the sweep with it: ' : '';
  const resumable = sweep.state === 'paused' || sweep.state === 'cancelled' || sweep.state === 'failed';
  return (
    <div className={`dk-strip ${folded ? 'dk-strip-folded' : ''}`} role="group" aria-label="Sweep">
      <div className="dk-strip-now">
        {alive && sweep.state === 'running' && <span className="dk-spin" aria-hidden="true" />}
        <span className="dk-strip-words" title={`${stopped}${sweep.bold}${sweep.words}${sweep.soft}`}>
          {stopped}
          <b>{sweep.bold}</b>
          {sweep.words}
          <span className="dk-soft">{sweep.soft}</span>
        </span>
      </div>
      <div className="dk-strip-actions">
        <span className="dk-soft">{alive ? sweep.left : ''}</span>
        {(active || resumable) && (
          <Button
            icon={resumable ? 'play' : 'pause'}
            disabled={!alive}
            reason={UNPAUSABLE[sweep.state]}
            onClick={() => void ask(resumable ? 'resume' : 'pause')}
          >
            {resumable ? 'Resume' : 'Pause'}
          </Button>
        )}
        {active && (
          <Button
            icon="close"
            disabled={!alive}
            reason={sweep.state === 'cancelling' ? UNPAUSABLE.cancelling : ''}
            onClick={() => void ask('cancel')}
          >
            Cancel
          </Button>
        )}
      </div>
      {active && <Bar {...sweep.bar} />}
      <Problem words={problem || error} />
    </div>
  );
}

/** A sweep that is done is one slim line, some seconds after its end. */
function useFolded(done: boolean): boolean {
  const [folded, setFolded] = useState(done);
  useEffect(() => {
    if (!done) {
      setFolded(false);
      return;
    }
    const timer = window.setTimeout(() => setFolded(true), FOLD_AFTER_MS);
    return () => window.clearTimeout(timer);
  }, [done]);
  return folded;
}

function Bar({ done, failed, words }: ISweep['bar']): ReactElement {
  const parts: [string, number][] = [
    ['done', done],
    ['failed', failed]
  ];
  return (
    <div
      className="dk-bar"
      role="progressbar"
      aria-label="Sweep"
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.floor(100 * (done + failed))}
      aria-valuetext={words}
      title={words}
    >
      {parts.map(([kind, share]) => (
        <span key={kind} className={`dk-bar-${kind}`} style={{ width: `${100 * share}%` }} />
      ))}
    </div>
  );
}

/** The state each Workbench was last known to be in: all its views tell of an end once. */
const known = new WeakMap<Bench, ISweep['state']>();

/** Read the line out now and then, and its end at once. */
function useAnnounced(sweep: ISweep | undefined): void {
  const bench = useBench();
  useEffect(() => {
    if (sweep !== undefined) {
      announce(bench, sweep);
    }
  }, [bench, sweep]);
}

/** To screen readers: what runs, and that it has ended. */
export function announce(bench: Bench, { state, bold, words, soft, left }: ISweep): void {
  const before = known.get(bench);
  known.set(bench, state);
  const line = `${bold}${words}${soft}. ${left}`;
  if (ACTIVE.has(state)) {
    bench.mention('sweep', line);
  } else if (before !== undefined && ACTIVE.has(before)) {
    bench.unmention('sweep');
    bench.say(state === 'done' ? `Sweep finished. ${line}` : line, true);
  }
}
