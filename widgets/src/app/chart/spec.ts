/** The chart's specification: the kernel makes it once, when results are shown. */

import { useCallback, useEffect, useState } from 'react';
import { type Bench, useBench } from '../store';

/** By Workbench: its views in cell and tab share one. */
const known = new WeakMap<Bench, Promise<Record<string, unknown>>>();

export function useSpec(): { spec: Record<string, unknown> | null; error: string; again(): void } {
  const bench = useBench();
  const [spec, setSpec] = useState<Record<string, unknown> | null>(null);
  const [error, setError] = useState('');
  const [turn, setTurn] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new turn asks again
  useEffect(() => {
    let wanted = true;
    specOf(bench).then(
      found => wanted && setSpec(found),
      reason => {
        known.delete(bench);
        if (wanted) {
          setError(`The chart could not be made: ${reason instanceof Error ? reason.message : String(reason)}`);
        }
      }
    );
    return () => {
      wanted = false;
    };
  }, [bench, turn]);
  const again = useCallback(() => {
    setError('');
    setTurn(old => old + 1);
  }, []);
  return { spec, error, again };
}

function specOf(bench: Bench): Promise<Record<string, unknown>> {
  const found = known.get(bench) ?? bench.link.ask<Record<string, unknown>>('chart').then(({ value }) => value);
  known.set(bench, found);
  return found;
}
