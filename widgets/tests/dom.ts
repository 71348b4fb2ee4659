/** Components in a page without a layout, with a kernel of the test's own. */

import { act, createElement, type ReactNode } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { vi } from 'vitest';
import type { ISections } from '../src/app/protocol';
import { Bench, BenchProvider } from '../src/app/store';

type Asked = [command: string, args: Record<string, unknown>];

/** The kernel: what it answers to a command; an error is its refusal, and undefined keeps the page waiting. */
export type Kernel = (command: string, args: Record<string, unknown>) => unknown;

Element.prototype.scrollIntoView = () => undefined; // a page without a layout does not scroll

const roots = new Map<HTMLElement, Root>();

/** A Workbench whose kernel answers at once, and what it was asked. */
export function aBench(kernel: Kernel, sections: Partial<ISections> = {}): { bench: Bench; asked: Asked[] } {
  const asked: Asked[] = [];
  const bench: Bench = new Bench(message => {
    if (message.type !== 'do') {
      return;
    }
    const { id, command, args } = message;
    asked.push([command, args]);
    const value = kernel(command, args);
    if (value === undefined) {
      return;
    }
    queueMicrotask(() =>
      value instanceof Error
        ? bench.receive({ type: 'reply', id, ok: false, error: value.message })
        : bench.receive({ type: 'reply', id, ok: true, value })
    );
  });
  bench.receive({ type: 'sections', sections });
  return { bench, asked };
}

/** @param into Where something was shown before; a new place without it. */
export async function show(bench: Bench, content: ReactNode, into?: HTMLElement): Promise<HTMLElement> {
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
  const place = into ?? document.createElement('div');
  document.body.append(place);
  const root = roots.get(place) ?? createRoot(place);
  roots.set(place, root);
  await settled(() => root.render(createElement(BenchProvider, { value: bench }, content)));
  return place;
}

/** For `afterEach`. */
export function clear(): void {
  act(() => {
    for (const root of roots.values()) {
      root.unmount();
    }
  });
  roots.clear();
  document.body.replaceChildren();
  vi.unstubAllGlobals();
}

/** The true one, also while a test has timers of its own. */
const later = globalThis.setTimeout;

/** Do something, and wait for the kernel's answers. */
export async function settled(what: () => void): Promise<void> {
  await act(async () => {
    what();
    await new Promise(resolve => later(resolve, 0));
  });
}

export function button(place: Element, words: string): HTMLButtonElement {
  const found = [...place.querySelectorAll('button')].find(
    item => item.textContent === words || item.getAttribute('aria-label') === words
  );
  if (!found) {
    throw new Error(`no button ${words} in ${place.textContent}`);
  }
  return found;
}

export const click = (place: Element, words: string): Promise<void> => settled(() => button(place, words).click());

/** Write into a field as a person does: React sees no change of `value`. */
export async function write(field: Element | null, text: string): Promise<void> {
  await settled(() => {
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value')?.set?.call(field, text);
    field?.dispatchEvent(new Event('input', { bubbles: true }));
  });
}

/** The focus comes to a field and leaves it again. */
export async function passBy(field: HTMLElement | null): Promise<void> {
  await settled(() => {
    field?.focus();
    field?.blur();
  });
}
