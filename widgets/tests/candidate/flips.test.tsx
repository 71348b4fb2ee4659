// @vitest-environment jsdom
import { act, type ReactElement } from 'react';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Flips } from '../../src/app/candidate/flips';
import { useRoving } from '../../src/app/candidate/parts';
import { Fold } from '../../src/app/elements/parts';
import { aBench, clear, show } from '../dom';

afterEach(clear);

const NAMES = ['first', 'second', 'third'];
const FLIPS = {
  classes: true,
  examples: 100,
  scores: '',
  derived: false,
  against: 'the original',
  groups: [{ name: 'now wrong', count: NAMES.length }]
};

function flip(example: number): object {
  const name = NAMES[example] ?? '';
  return {
    example,
    label: name,
    before: name,
    after: 'other',
    lost: 1,
    topBefore: [],
    topAfter: [],
    picture: -1,
    cells: [name]
  };
}

const RESTS = {
  summary: 'Both look at the collar.',
  answer: 'first',
  correlation: 0.9,
  floor: 0.8,
  largest: 0.31,
  maps: ['the original model', 'int8'],
  rows: [['row 3, column 4', 0.2, -0.3125]]
};

function kernel(command: string, args: Record<string, unknown>): unknown {
  if (command === 'candidate_rests') {
    return RESTS;
  }
  return command === 'candidate_flips'
    ? { ...FLIPS, rows: args.count ? NAMES.map((_, example) => flip(example)) : [] }
    : { picture: -1, cells: [String(args.example)] };
}

beforeEach(() => {
  vi.stubGlobal(
    'IntersectionObserver',
    class {
      constructor(private readonly seen: (entries: { isIntersecting: boolean }[]) => void) {}
      observe(): void {
        this.seen([{ isIntersecting: true }]);
      }
      disconnect(): void {}
    }
  );
});

it('one example is opened after the other without leaving the button', async () => {
  const place = await show(aBench(kernel).bench, <Flips subject={{ keyOf: 'k', letter: 'A', stamp: '' }} against="" />);
  const click = (element: Element | null): Promise<void> => act(async () => (element as HTMLElement).click());
  const button = (label: string): HTMLElement | null => place.querySelector(`[aria-label="${label}"]`);
  await click(place.querySelector('[data-item]'));
  expect(document.activeElement).toBe(place.querySelector('[role=dialog]'));
  expect(button('Previous example')?.getAttribute('aria-disabled')).toBe('true');
  button('Next example')?.focus();
  await click(button('Next example'));
  await click(button('Next example'));
  expect(place.querySelector('[role=dialog]')?.textContent).toContain('Sample 2: third');
  expect(document.activeElement).toBe(button('Next example'));
  expect(button('Next example')?.getAttribute('aria-disabled')).toBe('true');
});

it('what an answer rests on is shown for both models, and goes with the example', async () => {
  const place = await show(aBench(kernel).bench, <Flips subject={{ keyOf: 'k', letter: 'A', stamp: '' }} against="" />);
  const click = (element: Element | null): Promise<void> => act(async () => (element as HTMLElement).click());
  await click(place.querySelector('[data-item]'));
  const buttons = [...place.querySelectorAll<HTMLElement>('.dk-enlarged-foot button')];
  await click(buttons.find(one => one.textContent === 'What it rests on') ?? null);
  const rests = place.querySelector('.dk-rests');
  expect(rests?.textContent).toContain('Both look at the collar.');
  expect(rests?.textContent).toContain('full color is ±0.31');
  expect([...(rests?.querySelectorAll('img') ?? [])].map(one => one.alt)).toEqual([
    'What counts for first by the original model',
    'What counts for first by int8'
  ]);
  expect([...(rests?.querySelectorAll('td') ?? [])].map(one => one.textContent)).toEqual(['−0.313', '0.200']);
  await click(place.querySelector('[aria-label="Next example"]'));
  expect(place.querySelector('.dk-rests')).toBeNull();
});

function Items({ count }: { count: number }): ReactElement {
  const roving = useRoving(1, count);
  return (
    <div role="toolbar" onFocus={roving.onFocus}>
      {NAMES.slice(0, count).map((name, place) => (
        <button key={name} type="button" data-item tabIndex={roving.stop(place)}>
          {name}
        </button>
      ))}
    </div>
  );
}

it('the last item is the tab stop when the one that was has gone', async () => {
  const bench = aBench(() => null).bench;
  const stops = (place: HTMLElement): string[] =>
    [...place.querySelectorAll('[tabindex="0"]')].map(item => item.textContent ?? '');
  const place = await show(bench, <Items count={3} />);
  act(() => (place.querySelectorAll('button')[2] as HTMLElement).focus());
  expect(stops(place)).toEqual(['third']);
  await show(bench, <Items count={2} />, place);
  expect(stops(place)).toEqual(['second']);
});

it('a part that was opened is open when it comes back', async () => {
  const bench = aBench(() => null).bench;
  const place = await show(bench, <Fold title="Recipe">{() => 'steps'}</Fold>);
  act(() => place.querySelector('button')?.click());
  expect(place.textContent).toContain('steps');
  expect((await show(bench, <Fold title="Recipe">{() => 'other steps'}</Fold>)).textContent).toContain('other steps');
  expect((await show(bench, <Fold title="Per class">{() => 'classes'}</Fold>)).textContent).not.toContain('classes');
});
