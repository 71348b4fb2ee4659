// @vitest-environment jsdom
import { afterEach, expect, it, vi } from 'vitest';
import { Choose } from '../../src/app/data/choose';
import type { IKind } from '../../src/app/data/kind';
import type { IData } from '../../src/app/data/section';
import { aBench, clear, click, passBy, settled, show, write } from '../dom';

afterEach(() => {
  clear();
  vi.useRealTimers();
});

const DATA = {
  facts: null,
  meaning: null,
  name: '',
  path: '',
  scale: '',
  reshape: '',
  layout: '',
  mean: '',
  std: '',
  settings: {},
  resolution: { words: '', enough: true }
} as unknown as IData;

/** Fields that no file of the browser names, by the path's ending. */
const KINDS: Record<string, IKind> = {
  films: { of: 'films', fields: [{ name: 'reel', label: 'Reel', help: 'Which reel.', example: '1' }] },
  songs: { of: 'songs', fields: [{ name: 'key', label: 'Key', help: '', example: 'a minor, then c major' }] }
};

function kernel(command: string, args: Record<string, unknown>): unknown {
  switch (command) {
    case 'data_names':
      return [];
    case 'data_fields':
      return KINDS[String(args.path)] ?? { of: '', fields: [] };
    case 'check_setting':
      return args.text === 'x' ? new Error('Reel must be a number.') : null;
    default:
      return null;
  }
}

async function typed(place: HTMLElement, path: string): Promise<void> {
  await write(place.querySelector('[list]'), path);
  await settled(() => vi.advanceTimersByTime(400));
}

it('shows the fields of the kind of data at the path, and sends them with it', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const { bench, asked } = aBench(kernel);
  const place = await show(bench, <Choose data={DATA} />);
  const group = (): Element | null => place.querySelector('[role=group]');
  expect(group()).toBeNull();
  await typed(place, 'films');
  expect(group()?.getAttribute('aria-label')).toBe('Settings of films');
  const field = (): HTMLInputElement => group()?.querySelector('input') as HTMLInputElement;
  expect([field().title, field().placeholder]).toEqual(['Which reel.', '1']);
  expect(group()?.querySelector('label')?.htmlFor).toBe(field().id);

  await write(field(), 'x');
  await passBy(field());
  const alert = place.querySelector('[role=alert]');
  expect(alert?.textContent).toBe('Reel must be a number.');
  expect(field().getAttribute('aria-describedby')).toBe(alert?.id);
  expect(group()?.contains(alert)).toBe(false); // the button would move away
  await write(field(), '3');
  await click(place, 'Load');
  expect(asked.at(-1)).toEqual([
    'load_data',
    { path: 'films', layout: '', scale: '', reshape: '', mean: '', std: '', reel: '3' }
  ]);

  await typed(place, 'songs');
  expect(group()?.textContent).toBe('Key');
  await click(place, 'Load');
  expect(Object.keys(asked.at(-1)?.[1] ?? {})).toEqual(['path', 'layout', 'scale', 'reshape', 'mean', 'std', 'key']);
  await typed(place, 'nothing');
  expect(group()).toBeNull();
});

it('shows what the data were read with', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const { bench } = aBench(kernel);
  const place = await show(bench, <Choose data={{ ...DATA, path: 'films', settings: { reel: '7' } }} />);
  await settled(() => vi.advanceTimersByTime(400));
  const value = (): string | undefined => place.querySelector<HTMLInputElement>('[role=group] input')?.value;
  expect(value()).toBe('7');
  await typed(place, 'songs');
  expect(value()).toBe('');
  await typed(place, 'films');
  expect(value()).toBe('7');
});
