/** Widgets that have a kernel, by the names that notebooks keep of them. */

import type { DOMWidgetModel } from '@jupyter-widgets/base';
import { type ISignal, Signal } from '@lumino/signaling';

export interface ILive {
  model: DOMWidgetModel;
  /** The static form the kernel has made last; "" before the first. */
  html: string;
}

const found = new Map<string, ILive>();
const signal = new Signal<typeof found, string>(found);

/** Emits the name of a widget that has come to life, or has a new static form. */
export const liveChanged: ISignal<unknown, string> = signal;

export function liveOf(id: string): ILive | undefined {
  return found.get(id);
}

/** A widget has a kernel. */
export function isLive(id: string, model: DOMWidgetModel): void {
  found.set(id, { model, html: '' });
  signal.emit(id);
}

/** A widget has a new static form. */
export function keep(id: string, html: string): void {
  const live = found.get(id);
  if (live) {
    live.html = html;
    signal.emit(id);
  }
}

/** A widget is closed. */
export function isGone(id: string): void {
  found.delete(id);
}
