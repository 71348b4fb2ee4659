/** Components in a document, with a Workbench whose kernel is a function. */

import { act, createElement, type ReactElement } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { afterEach, vi } from 'vitest';
import type { ISections, ToKernel } from '../src/app/protocol';
import { Bench, BenchProvider } from '../src/app/store';

/** Answers a command with a value, or refuses it with a thrown error. */
export type Kernel = (command: string, args: Record<string, unknown>) => unknown;

const roots = new Map<HTMLElement, Root>();

afterEach(() => {
  act(() => {
    for (const root of roots.values()) {
      root.unmount();
    }
    roots.clear();
  });
  document.body.replaceChildren();
});

/** A Workbench that knows these sections already. */
export function aBench(sections: Partial<ISections>, kernel: Kernel = () => null): Bench {
  const bench = new Bench((message: ToKernel) => {
    if (message.type !== 'do') {
      return;
    }
    const { id, command, args } = message;
    queueMicrotask(() => {
      try {
        bench.receive({ type: 'reply', id, ok: true, value: kernel(command, args) });
      } catch (error) {
        bench.receive({ type: 'reply', id, ok: false, error: (error as Error).message });
      }
    });
  });
  bench.receive({ type: 'sections', sections });
  return bench;
}

/** @param into Where something was shown before; another place without it. */
export async function show(bench: Bench, element: ReactElement, into?: HTMLElement): Promise<HTMLElement> {
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
  const place = into ?? document.createElement('div');
  document.body.append(place);
  const root = roots.get(place) ?? createRoot(place);
  roots.set(place, root);
  await act(async () => root.render(createElement(BenchProvider, { value: bench }, element)));
  return place;
}
