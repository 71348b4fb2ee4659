/** Sweep: what runs now, what is left; pause, resume, cancel. */

import { type ReactElement, useEffect, useRef } from 'react';
import { Button, Problem, useAsk, usePanelProblem } from './parts';
import { useAlive, useBench, useSection } from './store';

export interface ISweep {
  state: 'idle' | 'starting' | 'running' | 'paused' | 'cancelling' | 'cancelled' | 'failed' | 'done';
  /** What happens, its first words in bold. */
  bold: string;
  words: string;
  soft: string;
  left: string;
  /** Units of work. */
  bar: { reused: number; done: number; failed: number; running: number; total: number };
}

declare module './protocol' {
  interface ISections {
    sweep: ISweep;
  }
}

/** Screen readers are told of progress at most this often. */
const ANNOUNCE_EVERY_MS = 10_000;
const ACTIVE = new Set(['starting', 'running', 'paused', 'cancelling']);

export function Strip(): ReactElement | null {
  const sweep = useSection('sweep');
  const problem = usePanelProblem('sweep');
  const { ask } = useAsk();
  const alive = useAlive();
  useAnnounced(sweep);
  if (sweep === undefined || (sweep.state === 'idle' && !problem)) {
    return null;
  }
  const active = ACTIVE.has(sweep.state);
  const resumable = sweep.state === 'paused' || sweep.state === 'cancelled' || sweep.state === 'failed';
  return (
    <div className="dk-strip" role="group" aria-label="Sweep">
      <div className="dk-strip-now">
        {sweep.state === 'running' && <span className="dk-spin" aria-hidden="true" />}
        <span className="dk-strip-words">
          <b>{sweep.bold}</b>
          {sweep.words}
          <span className="dk-soft">{sweep.soft}</span>
        </span>
      </div>
      <div className="dk-strip-actions">
        <span className="dk-soft">{sweep.left}</span>
        {sweep.state === 'running' && (
          <Button icon="pause" disabled={!alive} onClick={() => void ask('pause')}>
            Pause
          </Button>
        )}
        {resumable && (
          <Button icon="play" disabled={!alive} onClick={() => void ask('resume')}>
            Resume
          </Button>
        )}
        {active && (
          <Button icon="close" disabled={!alive || sweep.state === 'cancelling'} onClick={() => void ask('cancel')}>
            Cancel
          </Button>
        )}
      </div>
      {active && <Bar {...sweep.bar} />}
      <Problem words={problem} />
    </div>
  );
}

function Bar({ reused, done, failed, running, total }: ISweep['bar']): ReactElement {
  const all = Math.max(total, 1);
  const parts: [string, number][] = [
    ['reused', reused],
    ['done', done],
    ['failed', failed],
    ['running', running]
  ];
  const finished = reused + done + failed;
  const words = `${finished} of ${total} finished${failed ? `, ${failed} of them failed` : ''}`;
  return (
    <div
      className="dk-bar"
      role="progressbar"
      aria-label="Sweep"
      aria-valuemin={0}
      aria-valuemax={total}
      aria-valuenow={finished}
      aria-valuetext={words}
      title={words}
    >
      {parts.map(([kind, count]) => (
        <span key={kind} className={`dk-bar-${kind}`} style={{ width: `${(100 * count) / all}%` }} />
      ))}
    </div>
  );
}

/** Read the line out now and then, and its end at once. */
function useAnnounced(sweep: ISweep | undefined): void {
  const bench = useBench();
  const last = useRef({ at: 0, state: 'idle' });
  useEffect(() => {
    if (sweep === undefined) {
      return;
    }
    const words = `${sweep.bold}${sweep.words}${sweep.soft}. ${sweep.left}`;
    const now = performance.now();
    const ended = !ACTIVE.has(sweep.state) && ACTIVE.has(last.current.state);
    if (ended) {
      bench.say(sweep.state === 'done' ? `Sweep finished. ${words}` : words, true);
    }
    if (ended || (ACTIVE.has(sweep.state) && now - last.current.at > ANNOUNCE_EVERY_MS)) {
      if (!ended) {
        bench.say(words);
      }
      last.current.at = now;
    }
    last.current.state = sweep.state;
  }, [bench, sweep]);
}
