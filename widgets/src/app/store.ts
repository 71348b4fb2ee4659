/**
 * What one Workbench shows, shared by all its views: what the kernel sent, and what only the browser knows.
 *
 * Selection, filters, sorting and the like live here; the kernel is informed afterwards, of what matters for the code.
 */

import { createContext, useContext } from 'react';
import { createStore, type StoreApi, useStore } from 'zustand';
import { Link, Refused } from './link';
import { Mentions } from './mentions';
import type { FromKernel, IPicked, ISections, ToKernel } from './protocol';
import type { IRow } from './rows';
import { type IView, VIEW } from './view';

export interface IState {
  sections: Partial<ISections>;
  /** Candidates by key; a new map whenever one of them changes, unchanged rows are the same objects. */
  rows: ReadonlyMap<string, IRow>;
  view: IView;
  tab: string | null;
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
        this.settle();
        this.store.setState(state => ({ sections: { ...state.sections, ...message.sections }, alive: true }));
        if (message.sections.app) {
          this.follow();
        }
        break;
      case 'rows':
        // A long table comes in hundreds of messages: they are drawn together.
        this.patches.push(message);
        if (this.patches.length === 1) {
          beforeDrawing(() => this.settle());
        }
        break;
      case 'reply':
        this.settle();
        this.link.answered(message, buffers);
        break;
    }
  }

  /** Change what only the browser knows. */
  look(change: Partial<IView>): void {
    this.store.setState(state => ({ view: { ...state.view, ...change } }));
  }

  /**
   * Select A or B: shown at once, and sent to the kernel, whose code and export are about it. The two are never the same
   * candidate: when B becomes A, what was A becomes B.
   *
   * @returns Why it was refused; "" when it was not.
   */
  async pick(change: Partial<IPicked>): Promise<string> {
    const before = this.store.getState().view;
    const best = this.store.getState().sections.tradeoff?.best?.key ?? '';
    const [oldA, newA] = [before.a || best, (change.a ?? before.a) || best];
    if (change.b && change.b === newA) {
      const words = 'This candidate is already A. Choose a different one as B.';
      this.say(words);
      return words;
    }
    const swapped = newA !== '' && newA === before.b && change.b === undefined;
    this.look(swapped ? { ...change, b: oldA === newA ? '' : oldA } : change);
    if (!this.store.getState().alive) {
      return ''; // what is known can still be looked at
    }
    const { a, b } = this.store.getState().view;
    this.picks += 1;
    try {
      await this.link.ask('pick', { a, b });
      return '';
    } catch (error) {
      return error instanceof Refused ? error.message : String(error);
    } finally {
      this.picks -= 1;
      this.follow();
    }
  }

  show(tab: string): void {
    this.store.setState({ tab });
    if (this.store.getState().alive) {
      void this.link.ask('show_tab', { tab }).catch(() => undefined); // a page that is opened later begins there
    }
  }

  /** Have words read out by screen readers at once, as the answer to a key or a click; urgent ones interrupt. */
  say(words: string, urgent = false): void {
    this.store.setState(state => ({ said: { words, urgent, count: state.said.count + 1 } }));
  }

  /**
   * Have words read out some time: what changes by itself, or with each step of a slider. It waits for a quiet second,
   * all that waits is read together, and never more often than the listener can follow.
   *
   * @param topic Later words take the place of earlier ones about the same.
   */
  mention(topic: string, words: string): void {
    this.mentions.mention(topic, words);
  }

  /** Words about a topic are not wanted any more. */
  unmention(topic: string): void {
    this.mentions.drop(topic);
  }

  /** The kernel is gone: what was last known stays readable. */
  die(): void {
    this.settle();
    this.mentions.clear();
    this.link.close();
    this.store.setState({ alive: false });
  }

  /** Select what the kernel has, which another view or a cell may have changed; unless it has yet to hear of a click. */
  private follow(): void {
    const { sections, view } = this.store.getState();
    const { a, b } = sections.app?.picked ?? view;
    if (this.picks === 0 && (a !== view.a || b !== view.b)) {
      this.look({ a, b });
    }
  }

  /** Show the rows that have come. */
  private settle(): void {
    const patches = this.patches;
    if (patches.length > 0) {
      this.patches = [];
      this.store.setState(state => ({ rows: patched(state.rows, patches) }));
    }
  }

  /** Selections the kernel has not answered yet. */
  private picks = 0;
  private patches: IPatch[] = [];
  private readonly mentions = new Mentions(words => this.say(words));
}

type IPatch = FromKernel & { type: 'rows' };

function patched(rows: ReadonlyMap<string, IRow>, patches: readonly IPatch[]): ReadonlyMap<string, IRow> {
  const found = new Map(rows);
  for (const { gone, set, reset } of patches) {
    if (reset) {
      found.clear();
    }
    for (const key of gone) {
      found.delete(key);
    }
    for (const [key, row] of Object.entries(set)) {
      found.set(key, row as IRow);
    }
  }
  return found;
}

/** A page that is not seen draws no frames, and waits for nothing. */
function beforeDrawing(work: () => void): void {
  if (typeof document === 'undefined' || document.hidden) {
    setTimeout(work, 0);
  } else {
    requestAnimationFrame(work);
  }
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
