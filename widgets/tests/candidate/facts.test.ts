import { expect, it } from 'vitest';
import {
  about,
  depth,
  groups,
  lost,
  microseconds,
  numbersOf,
  outline,
  sameLayer,
  withinNoise
} from '../../src/app/candidate/facts';
import type { IRow } from '../../src/app/rows';
import { aRow } from '../rows';

const ROW = aRow();

it('puts numbers side by side, each with the digits of its own interval', () => {
  const baseline: IRow = { ...ROW, isBaseline: true, change: [0, 0, 0], p50: [0.262, 0.26, 0.264], speedup: [1, 1, 1] };
  const rows = numbersOf([baseline, ROW, null], 'accuracy', false);
  const found = Object.fromEntries(rows.map(row => [row.label, row.cells]));
  expect(found['Accuracy, %']?.map(cell => cell.value)).toEqual(['91.03', '91.03', '']);
  expect(found['Change, pp']).toEqual([
    { value: '', around: '' },
    { value: '−0.31', around: '± 0.24' },
    { value: '', around: '' }
  ]);
  expect(found['p50, ms']?.slice(0, 2)).toEqual([
    { value: '0.262', around: '± 0.002' },
    { value: '0.094', around: '± 0.001' }
  ]);
  expect(found['p99, ms']?.[1]?.value).toBe('—');
  expect(found['Speed-up']?.[0]?.value).toBe('');
  expect(found['Speed-up']?.[1]).toEqual({ value: '2.79×', around: '[2.75, 2.83]' });
  expect(found['File, kB']?.[1]?.value).toBe('449');
});

it('shows how fast a decoder writes, and says nothing of it for other models', () => {
  const writer = { ...ROW, tokens: [1000, 900, 1110] as [number, number, number] };
  const found = numbersOf([writer, ROW], 'token agreement', false).find(row => row.label === 'Tokens/s');
  expect(found?.cells).toEqual([
    { value: '1000', around: '[900, 1110]' },
    { value: '—', around: '' }
  ]);
  expect(numbersOf([ROW], 'accuracy', false).map(row => row.label)).not.toContain('Tokens/s');
});

it('calls changes of errors relative', () => {
  expect(numbersOf([ROW], 'mean squared error', true).map(row => row.label)).toContain('Change, %');
});

it('finds a layer by any of its names', () => {
  expect(sameLayer(['conv'], ['cnn/conv'])).toBe(true);
  expect(sameLayer(['cnn/dense/MatMul_quant'], ['MatMul', 'cnn/dense/MatMul'])).toBe(true);
  expect(sameLayer(['logits:0'], ['logits'])).toBe(true);
  expect(sameLayer(['relu_1/Relu'], ['cnn/relu_1/Relu;cnn/conv_1/convolution'])).toBe(true);
  expect(sameLayer(['conv'], ['conv_1'])).toBe(false);
  expect(sameLayer([''], [''])).toBe(false);
});

it('writes times of layers', () => {
  expect(microseconds(118.4, 30.2)).toBe('118 → 30 µs');
  expect(microseconds(null, 6.12)).toBe('0.0 → 6.1 µs');
});

it('colors losses in square-root steps and gains not at all', () => {
  expect(depth(0.25, 1)).toBe(0.5);
  expect(depth(-0.1, 1)).toBe(0);
  expect(depth(0.1, 0)).toBe(0);
});

it('writes losses in points', () => {
  expect(lost([0.0021, 0, 0.01])).toBe('0.21');
  expect(lost([-0.0004, 0, 0])).toBe('−0.04');
  expect(lost([0.00001, 0, 0])).toBe('0');
});

it('rounds what a measurement takes', () => {
  expect([3.4, 41, 89, 200].map(about)).toEqual(['3 s', '40 s', '90 s', '3 min']);
  expect(about(0)).toBe('1 s');
});

it('outlines a histogram', () => {
  expect(outline([0, 4, 1], 30, 10)).toBe('M0 10L0 10H10L10 0H20L20 5H30L30 10Z');
  expect(outline([], 30, 10)).toBe('M0 10L30 10Z');
});

it('writes shares of zeros', () => {});

it('gathers the levels of a technique under its name', () => {
  const level = (group: string, label: string) => ({ group, label, measured: true, seconds: null });
  const levels = [level('pruning', 'pruning 50 %'), level('pruning', 'pruning 80 %'), level('int8', 'int8')];
  expect(groups(levels)).toEqual([
    {
      name: 'pruning',
      levels: [
        { place: 0, words: '50 %' },
        { place: 1, words: '80 %' }
      ]
    },
    { name: 'int8', levels: [{ place: 2, words: '' }] }
  ]);
});

it('a loss whose interval holds zero is within the noise', () => {
  expect(withinNoise([0.01, -0.002, 0.022])).toBe(true);
  expect(withinNoise([0.01, 0.002, 0.018])).toBe(false);
  expect(withinNoise([-0.01, -0.018, -0.002])).toBe(false);
});
