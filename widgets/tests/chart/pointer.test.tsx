// @vitest-environment jsdom
import { act, type ReactElement, useRef } from 'react';
import { afterEach, expect, it, vi } from 'vitest';
import { usePointer } from '../../src/app/chart/pointer';
import { drawingOf } from '../../src/app/chart/points';
import type { IApp } from '../../src/app/protocol';
import { judge } from '../../src/app/tradeoff/front';
import { SceneProvider, useScene } from '../../src/app/tradeoff/scene';
import type { ITradeoff } from '../../src/app/tradeoff/section';
import { VIEW } from '../../src/app/view';
import { aBench, clear, show } from '../dom';
import { aRow } from '../rows';

afterEach(clear);

const SIZE = { width: 400, height: 300 };
const X = { name: 'latency', label: 'latency', title: 'latency', unit: 'ms', higher: false, better: 'faster' };
const Y = { name: 'change', label: 'change', title: 'change', unit: 'pp', higher: true, better: 'better' };
const TRADEOFF = { measures: [X, Y], settings: [], best: null, unit: 'pp' } as unknown as ITradeoff;

function Over(): ReactElement {
  const over = useRef<HTMLDivElement>(null);
  const rows = [aRow()];
  const drawing = drawingOf({
    rows,
    judged: judge(rows, X, Y),
    measures: [X, Y],
    x: X,
    y: Y,
    limit: null,
    palette: { runtimes: new Map(), surface: '' },
    must: [],
    view: VIEW,
    before: null
  });
  return <div ref={over} id="over" {...usePointer(over, drawing, SIZE).handlers} />;
}

it('a drag that ends before anything was drawn is not a click', async () => {
  Element.prototype.setPointerCapture = vi.fn();
  const bench = aBench(() => null, { tradeoff: TRADEOFF }).bench;
  const place = await show(
    bench,
    <SceneProvider tradeoff={TRADEOFF}>
      <Over />
    </SceneProvider>
  );
  const over = place.querySelector('#over');
  const at = (type: string, clientX: number, clientY: number): void =>
    void over?.dispatchEvent(new MouseEvent(type, { bubbles: true, button: 0, clientX, clientY }));
  act(() => {
    at('pointerdown', 80, 60);
    at('pointermove', 200, 150);
    at('pointerup', 200, 150);
  });
  expect(bench.store.getState().view.brush.map(({ measure }) => measure)).toEqual(['latency', 'change']);
});

it('a choice that the kernel refuses is taken back, with the reason', async () => {
  const Pick = (): ReactElement => {
    const { select, refused } = useScene();
    return (
      <button type="button" onClick={() => select('a', 'other')}>
        {refused}
      </button>
    );
  };
  const sections = { tradeoff: TRADEOFF, app: { picked: { a: 'kept', b: '' } } as IApp };
  const { bench } = aBench(() => new Error('There is no candidate other.'), sections);
  const place = await show(
    bench,
    <SceneProvider tradeoff={TRADEOFF}>
      <Pick />
    </SceneProvider>
  );
  await act(async () => place.querySelector('button')?.click());
  expect(place.textContent).toBe('There is no candidate other.');
  expect(bench.store.getState().view.a).toBe('kept');
});
