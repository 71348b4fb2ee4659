/** What chart, legend and table share, computed once: axes, who is on the front, what is selected. */

import { createContext, type ReactElement, type ReactNode, useCallback, useContext, useMemo, useState } from 'react';
import type { IRow } from '../rows';
import { useBench, useRows, useSection, useView } from '../store';
import { type IJudged, judge } from './front';
import { type IMeasure, knownOr } from './measures';
import type { ITradeoff } from './section';

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
  /** Make a candidate A, or B; the kernel is informed afterwards. */
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
  const [refused, setRefused] = useState('');
  const { measures } = tradeoff;
  const wanted = measures.find(measure => measure.name === nameX) ?? measures[0] ?? NONE;
  const x = useMemo(
    () =>
      knownOr(
        rows.values(),
        wanted,
        measures.find(({ name }) => name === 'size')
      ),
    [rows, wanted, measures]
  );
  const y = measures.find(measure => measure.name === nameY) ?? measures[0] ?? NONE;
  const judged = useMemo(() => judge(rows.values(), x, y), [rows, x, y]);
  const select = useCallback(
    (which: 'a' | 'b', key: string): void => {
      void bench.pick({ [which]: key }).then(setRefused);
    },
    [bench]
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
      refused
    }),
    [tradeoff, rows, x, y, judged, pickedA, b, runtimes, select, refused]
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
