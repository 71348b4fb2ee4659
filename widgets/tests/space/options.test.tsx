// @vitest-environment jsdom
import { afterEach, expect, it, vi } from 'vitest';
import { type IOptions, Options } from '../../src/app/space/options';
import { aBench, clear, click, passBy, settled, show, write } from '../dom';

afterEach(clear);

const NONE = { help: '', choices: [], units: [], unit: '', whole: false, address: false };
/** Options that no file of the browser names. */
const OPTIONS: IOptions = {
  changed: 1,
  controls: [
    { ...NONE, name: 'warm_up', kind: 'number', label: 'Warm-up', value: 3, unit: 'inferences', whole: true },
    { ...NONE, name: 'cool_down', kind: 'switch', label: 'Cool down', value: false, help: 'Waits.' },
    {
      ...NONE,
      name: 'strategy',
      kind: 'choice',
      label: 'Between launches',
      value: 'sleep',
      choices: [
        { value: 'sleep', label: 'sleep', help: 'Does nothing.', reason: '' },
        { value: 'busy', label: 'busy wait', help: 'Keeps the clock high.', reason: '' },
        { value: 'fan', label: 'wait for the fan', help: '', reason: 'no sensor' }
      ]
    },
    { ...NONE, name: 'limit', kind: 'amount', label: 'Limit', value: '30 candidates', units: ['candidates', 'min'] },
    { ...NONE, name: 'note', kind: 'text', label: 'Note', value: '' }
  ]
};

it('draws a control for each kind of option, and sends what is set by its name', async () => {
  const { bench, asked } = aBench(() => null);
  const place = await show(bench, <Options options={OPTIONS} />);
  expect(place.querySelector('h4')?.textContent).toBe('Sweep options · 1 change');
  await settled(() => place.querySelector<HTMLButtonElement>('h4 button')?.click());
  const field = (label: string): HTMLInputElement & HTMLSelectElement => {
    const name = [...place.querySelectorAll('label')].find(item => item.textContent === label);
    return place.querySelector(`[id="${name?.htmlFor}"]`) as HTMLInputElement & HTMLSelectElement;
  };
  const pick = (select: HTMLSelectElement, value: string): Promise<void> =>
    settled(() => {
      select.value = value;
      select.dispatchEvent(new Event('change', { bubbles: true }));
    });

  await write(field('Warm-up'), '5.5');
  await passBy(field('Warm-up'));
  expect(place.querySelector('[role=alert]')?.textContent).toBe('“5.5” is not a whole number.');
  await write(field('Warm-up'), '5');
  await passBy(field('Warm-up'));
  await settled(() => field('Cool down').click());
  expect(field('Cool down').getAttribute('aria-describedby')).not.toBeNull();
  expect([...field('Between launches').options].map(option => option.disabled)).toEqual([false, false, true]);
  expect(place.textContent).toContain('no sensor');
  await pick(field('Between launches'), 'busy');
  expect(field('Limit').value).toBe('30');
  await write(field('Limit'), '12');
  await passBy(field('Limit'));
  // The kernel has not confirmed 12.
  await pick(place.querySelector('[aria-label="Unit of limit"]') as HTMLSelectElement, 'min');
  await write(field('Note'), 'quiet');
  await passBy(field('Note'));
  await click(place, 'Restore defaults');
  expect(asked).toEqual([
    ['set_option', { name: 'warm_up', value: 5 }],
    ['set_option', { name: 'cool_down', value: true }],
    ['set_option', { name: 'strategy', value: 'busy' }],
    ['set_option', { name: 'limit', value: '12 candidates' }],
    ['set_option', { name: 'limit', value: '30 min' }],
    ['set_option', { name: 'note', value: 'quiet' }],
    ['reset_options', {}]
  ]);
});

it('looks for a machine once its address is typed, and says what keeps it from answering', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const { bench, asked } = aBench((command, { value }) =>
      command !== 'look_at'
        ? null
        : value === 'ssh://me@board'
          ? 'me@board answers: Linux aarch64.'
          : new Error(`There is no machine called ${String(value).slice(6)}.`)
    );
    bench.look({ folds: ['Sweep options'] });
    const engine = { ...NONE, name: 'engine', kind: 'text' as const, label: 'Machine', address: true };
    const options = { changed: 0, controls: [{ ...engine, value: 'ssh://old' }] };
    const place = await show(bench, <Options options={options} />);
    const looks = (): unknown[] => asked.filter(([command]) => command === 'look_at').map(([, { value }]) => value);
    const pause = (): Promise<void> => settled(() => void vi.advanceTimersByTime(1000));
    await pause();
    expect(looks()).toEqual([]); // of what was there before
    await write(place.querySelector('input'), 'local');
    await pause();
    expect(place.querySelector('.dk-machine')).toBeNull();
    await write(place.querySelector('input'), 'ssh://me@bo');
    await settled(() => void vi.advanceTimersByTime(500));
    await write(place.querySelector('input'), 'ssh://me@boat');
    await pause();
    expect(looks()).toEqual(['ssh://me@boat']); // not of what was half typed
    expect(place.querySelector('[role=alert]')?.textContent).toContain('There is no machine called me@boat.');
    await write(place.querySelector('input'), 'ssh://me@board');
    expect(place.querySelector('[role=alert]')?.textContent ?? '').toBe(''); // it was said of another one
    await pause();
    expect(place.querySelector('.dk-machine')?.textContent).toContain('me@board answers: Linux aarch64.');
    await click(place, 'Check again');
    expect(looks()).toEqual(['ssh://me@boat', 'ssh://me@board', 'ssh://me@board']);
  } finally {
    vi.useRealTimers();
  }
});
