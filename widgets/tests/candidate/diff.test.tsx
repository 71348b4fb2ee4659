// @vitest-environment jsdom
import { act } from 'react';
import { afterEach, expect, it } from 'vitest';
import { GraphDiff } from '../../src/app/candidate/diff';
import type { DiffState, IDiff } from '../../src/app/candidate/facts';
import { railsOf, readsAmong } from '../../src/app/candidate/rails';
import { aBench, clear, show } from '../dom';

afterEach(clear);

it('a tensor has a lane of its own until its last reader', () => {
  // 1 and 2 read 0, and 3 reads both: the skip runs beside the chain.
  const rails = railsOf([[], [0], [1], [0, 2]]);
  expect(rails.map(rail => rail.own)).toEqual([0, 1, 1, 0]);
  expect(rails.map(rail => rail.goesOn)).toEqual([true, true, true, false]);
  expect(rails[2]?.passing).toEqual([0]);
  expect(rails[3]?.from).toEqual([0, 1]);
});

it('hidden nodes are looked through', () => {
  expect(readsAmong([[], [0], [1], [0, 2]], [0, 3])).toEqual([[], [0]]);
  expect(readsAmong([[], [], [0, 1], [2]], [0, 1, 3])).toEqual([[], [], [0, 1]]);
});

const STATES: DiffState[] = ['same', 'changed', 'added', 'removed', 'fused'];

function row(place: number): object {
  const state = STATES[place % STATES.length] ?? 'same';
  const node = {
    name: `node_${place}`,
    operator: 'Conv',
    shape: [null, 8],
    weights: [['w', '8 × 8', 'int8']],
    attributes: [['group', '1']]
  };
  return {
    state,
    name: node.name,
    operator: node.operator,
    before: state === 'added' ? null : node,
    after: state === 'removed' || state === 'fused' ? null : node,
    matched: state === 'same' || state === 'changed' ? 'name' : '',
    changes: state === 'changed' ? ['w: float32 → int8'] : [],
    into: state === 'fused' ? 'node_0' : '',
    reads: place > 0 ? [place - 1] : [],
    error: state === 'changed' ? 0.0123 : state === 'same' ? 0 : null,
    snr: state === 'changed' ? 38.2 : null,
    own: state === 'changed' ? place / 1e5 : null,
    range: state === 'changed' ? [-1.5, 2.25] : null,
    saturated: state === 'changed' ? 0.004 : null,
    float: state === 'changed',
    leftOut: 0,
    times: [state === 'added' ? null : 2, state === 'removed' ? null : 1]
  };
}

const COUNT = 2000;
const DIFF = {
  summary: 'Nodes beside original.',
  notes: ['Errors are relative.'],
  before: 'original',
  after: 'int8',
  counts: STATES.map(state => [state, COUNT / STATES.length]),
  rows: Array.from({ length: COUNT }, (_, place) => row(place))
};

async function opened(answer: (command: string, args: unknown) => unknown = () => null): Promise<HTMLElement> {
  return await show(aBench(answer).bench, <GraphDiff diff={DIFF as unknown as IDiff} keyOf="abc" letter="A" />);
}

const press = (list: Element, key: string): void =>
  act(() => void list.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true })));
const click = (element: Element | null | undefined): void =>
  act(() => void element?.dispatchEvent(new MouseEvent('click', { bubbles: true })));

it('only rows in sight are in the page, and keys go through all of them', async () => {
  const page = await opened();
  const list = page.querySelector('[role=listbox]') as HTMLElement;
  expect(page.querySelectorAll('[role=option]').length).toBeLessThan(60);
  press(list, 'ArrowDown');
  expect(document.getElementById(list.getAttribute('aria-activedescendant') ?? '')?.textContent).toContain('node_1');
  press(list, 'End');
  const last = document.getElementById(list.getAttribute('aria-activedescendant') ?? '');
  expect(last?.getAttribute('aria-posinset')).toBe(String(COUNT));
  expect(last?.getAttribute('aria-label')).toBe('fused: Conv node_1999, into node_0');
});

it('Enter and a click show both sides of a node, and Escape closes them', async () => {
  const page = await opened();
  const list = page.querySelector('[role=listbox]') as HTMLElement;
  press(list, 'ArrowDown');
  press(list, 'Enter');
  const sides = page.querySelector('.dk-diff-chosen');
  expect(sides?.textContent).toContain('Changed · paired by name: sure');
  expect(sides?.textContent).toContain('w: float32 → int8');
  expect(sides?.textContent).toContain('1.2 % (38.2 dB SNR)');
  press(list, 'Escape');
  expect(sides?.textContent).toContain('Select a node');
  click(page.querySelectorAll('[role=option]')[4]);
  expect(sides?.textContent).toContain('Fused into node_0');
});

it('filters leave what differs, or one state', async () => {
  const page = await opened();
  const button = (words: string): Element | undefined =>
    [...page.querySelectorAll('button')].find(item => item.textContent?.includes(words));
  const size = (): string | null | undefined => page.querySelector('[role=option]')?.getAttribute('aria-setsize');
  click(button('What differs'));
  expect(size()).toBe('1600');
  click(button('removed'));
  expect(size()).toBe('400');
  expect(page.querySelector('[role=option]')?.getAttribute('aria-label')).toContain('removed: Conv node_3');
  click(button('removed'));
  expect(size()).toBe('2000');
});

it('what loses most comes first, and a click keeps it in float', async () => {
  const asked: [string, unknown][] = [];
  const page = await opened((command, args) => {
    asked.push([command, args]);
    return 'Added to the space: int8.';
  });
  const button = (words: string): Element | undefined =>
    [...page.querySelectorAll('button')].find(item => item.textContent?.includes(words));
  click(button('What loses most'));
  const first = page.querySelector('[role=option]');
  expect(first?.getAttribute('aria-setsize')).toBe('400');
  expect(first?.getAttribute('aria-label')).toContain('node_1996');
  expect(first?.textContent).toContain('2.0 %');
  click(first);
  const sides = page.querySelector('.dk-diff-chosen');
  expect(sides?.textContent).toContain('of which 2.0 % comes in here');
  expect(sides?.textContent).toContain('Its numbers go from −1.500 to 2.250. 0.40 % of the original');
  await act(async () => click(button('Keep it in float')));
  expect(asked).toEqual([['candidate_keep_float', { key: 'abc', row: 1996 }]]);
  expect(sides?.textContent).toContain('Added to the space');
});
