import { expect, it } from 'vitest';
import { plotsOf, readable } from '../../src/app/beside/plots';
import type { IMeasure } from '../../src/app/tradeoff/measures';
import { aRow } from '../rows';

const X: IMeasure = {
  name: 'latency',
  label: 'latency',
  title: 'Latency',
  unit: 'ms',
  higher: false,
  better: 'faster'
};
const Y: IMeasure = { name: 'change', label: 'change', title: 'Change', unit: 'pp', higher: true, better: 'better' };

function row(key: string, p50: number, change: number, state: 'front' | 'beaten') {
  return aRow({
    key,
    state,
    p50: [p50, 0.99 * p50, 1.01 * p50],
    speedup: [1 / p50, 0.99 / p50, 1.01 / p50],
    change: [change, change - 0.1, change + 0.1]
  });
}

it('both stores have one pair of axes, and each has a front of its own', () => {
  const here = [row('a', 1, 0, 'front'), row('b', 2, -1, 'beaten')];
  const there = [row('a', 3, 0, 'front'), row('b', 4, -2, 'beaten')];
  const plots = plotsOf([here, there], X, Y);
  expect(plots?.x.low).toBeLessThan(1);
  expect(plots?.x.high).toBeGreaterThan(4);
  expect(plots?.y.low).toBeLessThan(-2);
  const [first, second] = plots?.sides ?? [];
  // The same place stands for the same value in both: 1, 2, 3 and 4 ms are equally far apart.
  const across = [...(first ?? []), ...(second ?? [])].map(dot => dot.x);
  const steps = across.slice(1).map((value, at) => value - (across[at] ?? 0));
  expect(steps).toEqual([steps[0], expect.closeTo(steps[0] ?? 0), expect.closeTo(steps[0] ?? 0)]);
  // What is slowest there of what is best here is on the front there all the same.
  expect(first?.map(dot => dot.strong)).toEqual([true, false]);
  expect(second?.map(dot => dot.strong)).toEqual([true, false]);
});

it('there is nothing to draw while neither has points', () => {
  expect(plotsOf([[aRow({ status: 'failed' })], []], X, Y)).toBeNull();
});

it('labels that would touch are left out, powers of ten last', () => {
  const labels = ['0.01', '0.02', '0.03', '0.05', '0.07', '0.1', '0.2'];
  const at = [34, 92, 126, 168, 196, 226, 284]; // as in a picture where 0.05 and 0.07 ran into each other
  expect(readable(labels, at)).toEqual(['0.01', '0.02', '0.03', '0.05', '', '0.1', '0.2']);
  expect(readable(['0.09', '0.1'], [100, 120])).toEqual(['', '0.1']);
  expect(readable(['0.01', '', '0.02'], [0, 20, 90])).toEqual(['0.01', '', '0.02']);
});
