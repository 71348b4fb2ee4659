import { expect, it } from 'vitest';
import { plotsOf } from '../../src/app/beside/plots';
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
