// @vitest-environment jsdom
import { act } from 'react';
import { afterEach, expect, it, vi } from 'vitest';
import { CodeDrawer } from '../../src/app/code';
import { type IPlan, Summary } from '../../src/app/space/summary';
import Strip, { type ISweep } from '../../src/app/sweep/panel';
import { aBench, clear, show } from '../dom';

const DONE: ISweep = {
  state: 'done',
  bold: 'Done: 2 measured',
  words: ', 5 s.',
  soft: '',
  left: '',
  bar: { done: 1, failed: 0, words: '100 % of the expected time is over' }
};

afterEach(() => {
  vi.useRealTimers();
  clear();
});

it('the line of a sweep folds five seconds after its end, and is whole again for the next one', async () => {
  const bench = aBench(() => null, { sweep: { ...DONE, state: 'running' } }).bench;
  const place = await show(bench, <Strip />);
  vi.useFakeTimers();
  const folded = (): boolean => place.querySelector('.dk-strip')?.classList.contains('dk-strip-folded') ?? false;
  const become = (sweep: ISweep): void => act(() => bench.receive({ type: 'sections', sections: { sweep } }));
  become(DONE);
  act(() => void vi.advanceTimersByTime(4900));
  expect(folded()).toBe(false);
  act(() => void vi.advanceTimersByTime(200));
  expect(folded()).toBe(true);
  expect(place.querySelector('.dk-strip-words')?.getAttribute('title')).toBe('Done: 2 measured, 5 s.');
  become({ ...DONE, state: 'running' });
  expect(folded()).toBe(false);
});

it('a kernel that has stopped leaves neither a spinner nor a clock', async () => {
  const sweep: ISweep = { ...DONE, state: 'running', bold: '2 built · 1 timed of 3', left: 'about 20 s left' };
  const bench = aBench(() => null, { sweep }).bench;
  const place = await show(bench, <Strip />);
  expect(place.querySelector('.dk-spin')).not.toBeNull();
  expect(place.textContent).toContain('about 20 s left');
  act(() => bench.die());
  expect(place.querySelector('.dk-spin')).toBeNull();
  expect(place.textContent).not.toContain('20 s left');
  expect(place.textContent).toContain('The kernel stopped, and the sweep with it: 2 built · 1 timed of 3');
});

it('a command that is refused says why', async () => {
  const bench = aBench(() => new Error('There is no sweep to pause.'), { sweep: { ...DONE, state: 'running' } }).bench;
  const place = await show(bench, <Strip />);
  await act(async () => place.querySelector('button')?.click());
  expect(place.querySelector('[role=alert]')?.textContent).toBe('There is no sweep to pause.');
});

it('a space that is too large for a click leads to a notebook', async () => {
  const plan: IPlan = { known: true, fresh: true, missing: '', problems: [], candidates: 3456, many: true };
  const code = { script: 'pass', line: 'pass', changed: [], notebook: 'space.ipynb' };
  const bench = aBench(() => null, { code }).bench;
  const place = await show(
    bench,
    <div className="dk-Workbench">
      <Summary plan={plan} />
      <CodeDrawer />
    </div>
  );
  const button = [...place.querySelectorAll('button')].find(item => item.textContent === 'Save as batch notebook');
  button?.focus();
  await act(async () => button?.click());
  expect((document.activeElement as HTMLInputElement).value).toBe('space.ipynb');
});
