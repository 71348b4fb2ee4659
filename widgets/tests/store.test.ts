// @vitest-environment jsdom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { FromKernel, IApp, ToKernel } from '../src/app/protocol';
import { Bench } from '../src/app/store';
import { announce, type ISweep } from '../src/app/sweep/panel';
import { aRow } from './rows';

let bench: Bench;

beforeEach(() => {
  vi.useFakeTimers();
  bench = new Bench(() => undefined);
});

afterEach(() => {
  vi.useRealTimers();
});

function rows(keys: string[], more: Partial<FromKernel & { type: 'rows' }> = {}): FromKernel {
  const set = Object.fromEntries(keys.map(key => [key, aRow({ key })]));
  return { type: 'rows', set, gone: [], reset: false, ...more };
}

const keysOf = (): string[] => [...bench.store.getState().rows.keys()];

test('many messages with rows are one change, in their order', () => {
  let changes = 0;
  bench.store.subscribe(() => {
    changes += 1;
  });
  bench.receive(rows(['old']));
  bench.receive(rows(['a', 'b'], { reset: true }));
  bench.receive(rows(['c'], { gone: ['a'] }));
  expect(keysOf()).toEqual([]);
  vi.advanceTimersByTime(20);
  expect(keysOf()).toEqual(['b', 'c']);
  expect(changes).toBe(1);
});

test('a caller that gets an answer knows all rows that came before it', async () => {
  const asked = bench.link.ask('pick');
  bench.receive(rows(['a']));
  bench.receive({ type: 'sections', sections: {} });
  expect(keysOf()).toEqual(['a']);
  bench.receive(rows(['b']));
  bench.die();
  expect(keysOf()).toEqual(['a', 'b']);
  await expect(asked).rejects.toThrow();
});

const said = (): string => bench.store.getState().said.words;

test('what changes by itself is reported after a quiet second, together, and every ten seconds at most', () => {
  bench.mention('rows', '1 of 9 rows');
  bench.mention('rows', '2 of 9 rows');
  bench.mention('plan', '48 candidates');
  vi.advanceTimersByTime(900);
  expect(said()).toBe('');
  vi.advanceTimersByTime(200);
  expect(said()).toBe('2 of 9 rows. 48 candidates');
  bench.mention('rows', '3 of 9 rows');
  vi.advanceTimersByTime(8000);
  expect(said()).toBe('2 of 9 rows. 48 candidates');
  vi.advanceTimersByTime(3000);
  expect(said()).toBe('3 of 9 rows');
});

test('what never rests is reported all the same', () => {
  for (let at = 0; at < 21; at++) {
    bench.mention('sweep', `${at} done`);
    vi.advanceTimersByTime(500);
  }
  expect(said()).toBe('19 done');
});

test('the end of a sweep is reported once and at once, however many views there are', () => {
  const sweep = { state: 'running', bold: 'Measuring', words: ' 1 of 2', soft: '', left: '5 s' } as ISweep;
  announce(bench, sweep);
  announce(bench, sweep);
  announce(bench, { ...sweep, state: 'done', bold: 'Done', words: ': 2 measured', left: '' });
  const { count, words, urgent } = bench.store.getState().said;
  expect([words, urgent]).toEqual(['Sweep finished. Done: 2 measured. ', true]);
  announce(bench, { ...sweep, state: 'done' });
  vi.advanceTimersByTime(30_000);
  expect(bench.store.getState().said.count).toBe(count);
});

test('a page that is opened after the end is not told of it', () => {
  announce(bench, { state: 'done', bold: 'Done', words: '', soft: '', left: '' } as ISweep);
  expect(said()).toBe('');
});

test('follows the selection of other views, unless the kernel has yet to hear of a click here', async () => {
  const sent: ToKernel[] = [];
  const bench = new Bench(message => sent.push(message));
  const told = (a: string): void =>
    bench.receive({ type: 'sections', sections: { app: { picked: { a, b: '' } } as IApp } });
  told('one');
  expect(bench.store.getState().view.a).toBe('one');
  const picking = bench.pick({ a: 'two' });
  told('one'); // was on its way
  expect(bench.store.getState().view.a).toBe('two');
  told('two');
  const [asked] = sent;
  bench.receive({ type: 'reply', id: asked?.type === 'do' ? asked.id : '', ok: true, value: null });
  expect(await picking).toBe('');
  told('three');
  expect(bench.store.getState().view.a).toBe('three');
});
