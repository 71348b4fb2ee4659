// @vitest-environment jsdom
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { IRow } from '../../src/app/rows';
import { Parallel } from '../../src/app/settings/parallel';
import type { Bench } from '../../src/app/store';
import { SceneProvider } from '../../src/app/tradeoff/scene';
import type { ITradeoff } from '../../src/app/tradeoff/section';
import { aBench, clear, settled, show } from '../dom';
import { aRow } from '../rows';

const WIDTH_PX = 800;
const measure = { title: '', unit: '', higher: false, better: '' };
const FAMILIES = ['prune', 'quantize'];
const TRADEOFF: ITradeoff = {
  maxDrop: 0.01,
  minimize: 'latency',
  costs: [],
  metric: 'accuracy',
  unit: 'pp',
  limit: -1,
  measures: [
    { ...measure, name: 'change', label: 'accuracy change', unit: 'pp', higher: true, better: 'better' },
    { ...measure, name: 'latency', label: 'latency', unit: 'ms', better: 'faster' },
    { ...measure, name: 'size', label: 'size', unit: 'kB', better: 'smaller' }
  ],
  settings: [
    { ...measure, name: 'setting:family', label: 'technique', higher: true, options: FAMILIES, values: FAMILIES }
  ],
  families: [],
  best: null
};

beforeEach(() => {
  vi.stubGlobal('requestAnimationFrame', queueMicrotask); // rows are drawn at the next frame
  vi.spyOn(HTMLCanvasElement.prototype, 'getContext').mockReturnValue(null);
  vi.spyOn(HTMLElement.prototype, 'clientWidth', 'get').mockReturnValue(WIDTH_PX);
  vi.stubGlobal(
    'ResizeObserver',
    class {
      constructor(private readonly seen: (entries: { contentRect: { width: number } }[]) => void) {}
      observe(): void {
        this.seen([{ contentRect: { width: WIDTH_PX } }]);
      }
      disconnect(): void {}
    }
  );
});

afterEach(() => {
  clear();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

function lines(bench: Bench, rows: readonly IRow[]): Promise<void> {
  const set = Object.fromEntries(rows.map(row => [row.key, row]));
  return settled(() => bench.receive({ type: 'rows', set, gone: [], reset: false }));
}

it('fills its width although it was opened before the first candidate was measured', async () => {
  const { bench } = aBench(() => null, { tradeoff: TRADEOFF });
  const place = await show(
    bench,
    <SceneProvider tradeoff={TRADEOFF}>
      <Parallel />
    </SceneProvider>
  );
  expect(place.textContent).toBe('No candidate has been measured yet.');
  await lines(bench, [aRow()]);
  expect(place.querySelector('canvas')?.style.width).toBe(`${WIDTH_PX}px`);
});

it('says the name of an axis once with its range', async () => {
  const { bench } = aBench(() => null, { tradeoff: TRADEOFF });
  await lines(bench, [aRow(), aRow({ key: 'b', settings: { family: 'prune' } })]);
  const place = await show(
    bench,
    <SceneProvider tradeoff={TRADEOFF}>
      <Parallel />
    </SceneProvider>
  );
  const said: string[] = [];
  vi.spyOn(bench, 'say').mockImplementation(words => said.push(words));
  const press = (key: string): Promise<void> =>
    settled(() => {
      place.querySelector('[role=application]')?.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    });
  await settled(() => bench.look({ hovered: 'b' }));
  await press(']');
  await press('Delete');
  expect(said).toEqual(['technique: prune', 'technique: no range']);
});
