/**
 * What the kernel and the browser tell each other; the kernel's side is deploykit_widgets/surface.py.
 *
 * The kernel sends sections (small JSON values by name, replaced as a whole when they change) and rows (candidates by
 * key, patched). The browser asks for commands and gets an answer each, or an error in words.
 */

/** Must be that of surface.py. */
export const PROTOCOL = '2.0.0';
export const MODULE = 'deploykit-widgets';

/** A value with the ends of its 95 % interval. */
export type Interval = readonly [value: number, low: number, high: number];

/** Sections by name. Each panel adds its own by `declare module './protocol'`. */
export interface ISections {
  app: IApp;
}

export interface IRuntime {
  name: string;
  label: string;
  /** Place in the palette. */
  color: number;
}

/** Keys of candidates A and B; as A, "" follows the best so far. */
export interface IPicked {
  a: string;
  b: string;
}

export interface ITab {
  /** Of the panel that it shows. */
  name: string;
  title: string;
  /** What stands beside the title. */
  words: string;
  /** Its work is done. */
  done: boolean;
  /** It needs attention. */
  wrong: boolean;
}

/** What all panels need to know. */
export interface IApp {
  title: string;
  /** The tab to begin with; empty where there are none, but single panels alone. */
  tab: string;
  /** Colors of runtimes, by place. */
  palette: { light: string[]; dark: string[] };
  runtimes: IRuntime[];
  /** What went wrong, by panel; empty texts are left out. */
  problems: Record<string, string>;
  /** Panels that wait for long work. */
  busy: string[];
  /** The panels that have a tab, in their order. */
  tabs: ITab[];
  /** The selected candidates, "" for none: one selection for all views of a Workbench, and for its code. */
  picked: IPicked;
}

export type FromKernel =
  | { type: 'sections'; sections: Partial<ISections> }
  | { type: 'rows'; set: Record<string, unknown>; gone: string[]; reset: boolean }
  | { type: 'kept'; html: string }
  | { type: 'reply'; id: string; ok: true; value: unknown }
  | { type: 'reply'; id: string; ok: false; error: string };

export type ToKernel = { type: 'hello' } | { type: 'do'; id: string; command: string; args: Record<string, unknown> };

/** An answer: its value, and bytes beside it. */
export interface IAnswer<T> {
  value: T;
  buffers: DataView[];
}
