/**
 * What one Workbench shows, shared by all its views: what the kernel sent, and what only the browser knows.
 *
 * Selection, filters, sorting and the like live here; the kernel is told afterwards, of what matters for the code.
 */

import { createContext, useContext } from 'react';
import { createStore, type StoreApi, useStore } from 'zustand';
import { Link } from './link';
import type { FromKernel, ISections, Tab, ToKernel } from './protocol';
import type { IRow } from './rows';
import { type IView, VIEW } from './view';

export interface IState {
  sections: Partial<ISections>;
  /** Candidates by key; a new map whenever one of them changes, unchanged rows are the same objects. */
  rows: ReadonlyMap<string, IRow>;
  view: IView;
  tab: Tab | null;
  /** Whether the kernel answers. */
  alive: boolean;
  /** The last thing to be read out, and how often something was. */
  said: { words: string; urgent: boolean; count: number };
}

export class Bench {
  readonly store: StoreApi<IState>;
  readonly link: Link;

  constructor(send: (message: ToKernel) => void) {
    this.link = new Link(send);
    this.store = createStore<IState>(() => ({
      sections: {},
      rows: new Map(),
      view: VIEW,
      tab: null,
      alive: true,
      said: { words: '', urgent: false, count: 0 }
    }));
  }

  /** A message of the kernel. */
  receive(message: FromKernel, buffers: DataView[] = []): void {
    switch (message.type) {
      case 'sections':
        this.store.setState(state => ({ sections: { ...state.sections, ...message.sections }, alive: true }));
        break;
      case 'rows':
        this.store.setState(state => ({ rows: patched(state.rows, message) }));
        break;
      case 'reply':
        this.link.answered(message, buffers);
        break;
    }
  }

  /** Change what only the browser knows. */
  look(change: Partial<IView>): void {
    this.store.setState(state => ({ view: { ...state.view, ...change } }));
  }

  show(tab: Tab): void {
    this.store.setState({ tab });
  }

  /** Have words read out by screen readers; urgent ones interrupt. */
  say(words: string, urgent = false): void {
    this.store.setState(state => ({ said: { words, urgent, count: state.said.count + 1 } }));
  }

  /** The kernel is gone: what was last known stays readable. */
  die(): void {
    this.link.close();
    this.store.setState({ alive: false });
  }
}

function patched(
  rows: ReadonlyMap<string, IRow>,
  message: { set: Record<string, unknown>; gone: string[]; reset: boolean }
): ReadonlyMap<string, IRow> {
  const found = message.reset ? new Map<string, IRow>() : new Map(rows);
  for (const key of message.gone) {
    found.delete(key);
  }
  for (const [key, row] of Object.entries(message.set)) {
    found.set(key, row as IRow);
  }
  return found;
}

const Context = createContext<Bench | null>(null);
export const BenchProvider = Context.Provider;

/** The Workbench a component belongs to. */
export function useBench(): Bench {
  const bench = useContext(Context);
  if (bench === null) {
    throw new Error('a panel is shown outside of a Workbench');
  }
  return bench;
}

/** A section; undefined until the kernel has sent it. */
export function useSection<K extends keyof ISections>(name: K): ISections[K] | undefined {
  return useStore(useBench().store, state => state.sections[name]);
}

export function useRows(): ReadonlyMap<string, IRow> {
  return useStore(useBench().store, state => state.rows);
}

export function useView<T>(select: (view: IView) => T): T {
  return useStore(useBench().store, state => select(state.view));
}

export function useAlive(): boolean {
  return useStore(useBench().store, state => state.alive);
}
