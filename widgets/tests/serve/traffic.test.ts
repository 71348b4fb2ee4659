import { describe, expect, it } from 'vitest';
import {
  type ISeen,
  type ITraffic,
  milliseconds,
  observed,
  perSecond,
  quantile,
  rateOf,
  WINDOW_MS
} from '../../src/app/serve/traffic';

const BOUNDS = [1, 2, 4, 8];

function seen(at: number, counts: number[], refused = 0): ISeen {
  const answered = counts.reduce((sum, count) => sum + count, 0);
  const traffic: ITraffic = { alive: true, failure: '', answered, refused, counts, bounds_ms: BOUNDS };
  return { at, traffic };
}

describe('the rate', () => {
  it('needs two observations', () => {
    expect(rateOf([])).toBeNull();
    expect(rateOf([seen(0, [5, 0, 0, 0, 0])])).toBeNull();
  });

  it('is of what came between the first and the last', () => {
    const rate = rateOf([seen(1000, [50, 0, 0, 0, 0]), seen(3000, [50, 0, 20, 0, 0], 3)]);
    expect(rate).toMatchObject({ perSecond: 10, answered: 70, refused: 3 });
    expect(rate?.p50).toBeGreaterThan(2);
    expect(rate?.p99).toBeLessThanOrEqual(4);
  });

  it('has no times without predictions', () => {
    expect(rateOf([seen(0, [1, 0, 0, 0, 0]), seen(1000, [1, 0, 0, 0, 0])])).toMatchObject({ perSecond: 0, p50: null });
  });
});

describe('observations', () => {
  it('are forgotten when they are older than the window, but for one at its beginning', () => {
    let all: ISeen[] = [];
    for (let second = 0; second <= 30; second++) {
      all = observed(all, seen(second * 1000, [second, 0, 0, 0, 0]));
    }
    expect(all[0]?.at).toBe(30_000 - WINDOW_MS);
    expect(rateOf(all)?.perSecond).toBe(1);
  });

  it('begin again with another server', () => {
    expect(observed([seen(0, [9, 0, 0, 0, 0])], seen(1000, [2, 0, 0, 0, 0]))).toHaveLength(1);
  });
});

describe('a quantile', () => {
  it('lies in its bucket', () => {
    expect(quantile([0, 0, 0, 0, 0], BOUNDS, 0.5)).toBeNull();
    expect(quantile([0, 100, 0, 0, 0], BOUNDS, 0.5)).toBeCloseTo(Math.SQRT2);
    expect(quantile([98, 0, 0, 2, 0], BOUNDS, 0.99)).toBeGreaterThan(4);
    expect(quantile([0, 0, 0, 0, 1], BOUNDS, 0.99)).toBeCloseTo(8);
  });
});

it('numbers have the digits that the buckets can tell', () => {
  expect([null, 0.8143, 1, 12.3, 127, 2345].map(milliseconds)).toEqual([
    '—',
    '0.81 ms',
    '1.0 ms',
    '12 ms',
    '130 ms',
    '2.3 s'
  ]);
  expect([0, 3.14, 31.4, 314.1].map(perSecond)).toEqual(['0.0', '3.1', '31', '314']);
});
