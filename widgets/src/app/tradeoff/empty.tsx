/** Before there are results: what is to be done next. */

import type { ReactElement } from 'react';
import { Button, Problem, useAsk } from '../elements/parts';
import { useAlive, useBench, useSection } from '../store';

/** What a sweep needs first, and what leads to it. */
const NEEDED: readonly [string, string][] = [
  ['model', 'Choose a model'],
  ['data', 'Choose data']
];

export function Empty(): ReactElement {
  const bench = useBench();
  const app = useSection('app');
  const run = useSection('space')?.run;
  const sweep = useSection('sweep')?.state ?? 'idle';
  const { ask, error } = useAsk();
  const alive = useAlive();
  const missing = NEEDED.find(([name]) => app?.tabs.some(tab => tab.name === name && !tab.done));
  if (sweep === 'starting' || sweep === 'running') {
    return <p className="dk-empty">The first point appears here as soon as a candidate is evaluated.</p>;
  }
  return (
    <div className="dk-empty">
      <p>No results yet. Choose a space and run the sweep.</p>
      {app?.tab !== '' &&
        (missing ? (
          <Button onClick={() => bench.show(missing[0])}>{missing[1]}</Button>
        ) : (
          <Button disabled={!alive} reason={run?.reason ?? ''} onClick={() => void ask('start')}>
            Run the sweep
          </Button>
        ))}
      <Problem words={error} />
    </div>
  );
}
