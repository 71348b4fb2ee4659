/** A candidate for tests: measured, and nothing special. */

import type { IRow } from '../src/app/rows';

export function aRow(more: Partial<IRow> = {}): IRow {
  return {
    key: 'a',
    name: 'int8 static',
    runtime: 'litert',
    where: 'LiteRT',
    device: 'cpu',
    threads: 1,
    batch: 1,
    family: 'quantize',
    mark: 'square',
    status: 'measured',
    isBaseline: false,
    state: 'front',
    why: '',
    badges: [],
    score: 0.9103,
    change: [-0.31, -0.55, -0.07],
    p50: [0.094, 0.093, 0.095],
    p90: 0.1,
    p99: null,
    cpu: 0.09,
    speedup: [2.79, 2.75, 2.83],
    sameRuntime: null,
    parts: '',
    size: 449_000,
    compressed: 371_000,
    memory: 24_800_000,
    agreement: 0.99,
    compared: true,
    scores: {},
    flips: 3,
    seconds: 4.2,
    settings: { family: 'quantize', runtime: 'LiteRT', threads: 1 },
    launches: 10,
    stopped: '',
    failure: null,
    ...more
  };
}
