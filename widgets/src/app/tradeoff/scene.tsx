/** What chart, legend and table share, computed once: axes, who is on the front, what is selected. */

import {
  createContext,
  type ReactElement,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef
} from 'react';
import { useAsk } from '../parts';
import type { IRow } from '../rows';
import { useAlive, useBench, useRows, useSection, useView } from '../store';
import type { ITradeoff } from '../tradeoff';
import { type IJudged, judge } from './front';
import type { IMeasure } from './measures';

interface IShared {
  tradeoff: ITradeoff;
  rows: ReadonlyMap<string, IRow>;
  x: IMeasure;
  y: IMeasure;
  judged: ReadonlyMap<string, IJudged>;
  /** Keys of the compared candidates; A is the best so far unless another one was picked. */
  a: string;
  b: string;
  labelOf(runtime: string): string;
  colorOf(runtime: string): number;
  /** Make a candidate A, or B; the kernel is told afterwards. */
  select(which: 'a' | 'b', key: string): void;
  /** Why the kernel did not take the last choice. */
  refused: string;
}

const Context = createContext<IShared | null>(null);

const NONE: IMeasure = { name: '', label: '', title: '', unit: '', higher: false, better: '' };

export function SceneProvider({ tradeoff, children }: { tradeoff: ITradeoff; children: ReactNode }): ReactElement {
  const bench = useBench();
  const rows = useRows();
  const runtimes = useSection('app')?.runtimes;
  const [pickedA, b, nameX, nameY] = [useView(v => v.a), useView(v => v.b), useView(v => v.x), useView(v => v.y)];
  const { ask, error } = useAsk();
  const alive = useAlive();
  const { measures, picked } = tradeoff;
  const x = measures.find(measure => measure.name === nameX) ?? measures[0] ?? NONE;
  const y = measures.find(measure => measure.name === nameY) ?? measures[0] ?? NONE;
  const judged = useMemo(() => judge(rows.values(), x, y), [rows, x, y]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what the kernel remembers counts when the page opens
  useEffect(() => {
    const view = bench.store.getState().view;
    if (view.a === '' && view.b === '') {
      bench.look(picked);
    }
  }, [bench]);
  // Another model, or other data: what was selected is gone with the old results, and the kernel has forgotten it.
  useEffect(() => {
    const gone = (key: string, known: string): boolean => key !== '' && known === '' && rows.size > 0 && !rows.has(key);
    if (gone(pickedA, picked.a) || gone(b, picked.b)) {
      bench.look({ a: gone(pickedA, picked.a) ? '' : pickedA, b: gone(b, picked.b) ? '' : b });
    }
  }, [bench, rows, pickedA, b, picked]);
  const turn = useRef(0);
  const select = useCallback(
    (which: 'a' | 'b', key: string): void => {
      bench.look({ [which]: key });
      const view = bench.store.getState().view;
      if (!alive) {
        return; // what is known can still be looked at
      }
      const mine = ++turn.current;
      void ask('pick', { a: view.a, b: view.b }).then(answer => {
        if (answer === null && mine === turn.current) {
          bench.look(bench.store.getState().sections.tradeoff?.picked ?? {}); // what the code and the export hold
        }
      });
    },
    [bench, ask, alive]
  );
  const shared = useMemo<IShared>(
    () => ({
      tradeoff,
      rows,
      x,
      y,
      judged,
      a: pickedA || (tradeoff.best?.key ?? ''),
      b,
      labelOf: name => runtimes?.find(runtime => runtime.name === name)?.label ?? name,
      colorOf: name => runtimes?.find(runtime => runtime.name === name)?.color ?? 5,
      select,
      refused: error
    }),
    [tradeoff, rows, x, y, judged, pickedA, b, runtimes, select, error]
  );
  return <Context.Provider value={shared}>{children}</Context.Provider>;
}

export function useScene(): IShared {
  const shared = useContext(Context);
  if (shared === null) {
    throw new Error('outside of the trade-off panel');
  }
  return shared;
}
