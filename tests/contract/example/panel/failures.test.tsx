// @vitest-environment jsdom
import { afterEach, expect, it } from 'vitest';
import type { IApp } from '../src/app/protocol';
import { Shell } from '../src/app/shell';
import { aBench, clear, click, settled, show } from './dom';

afterEach(clear);

const APP = {
  title: 'net.onnx',
  tab: 'export',
  palette: { light: [], dark: [] },
  runtimes: [],
  problems: {},
  busy: [],
  picked: { a: '', b: '' },
  tabs: [
    { name: 'export', title: 'Export & serve', words: '', done: false, wrong: false },
    { name: 'failures', title: 'Failures', words: '1 failed', done: false, wrong: true },
    { name: 'unknown', title: 'Unknown', words: '', done: false, wrong: false }
  ]
} satisfies IApp;
const FAILURES = [{ key: 'k', name: 'int8', cause: 'out of memory' }];

it('a new panel has its tab, is drawn in it, and asks the kernel', async () => {
  const { bench, asked } = aBench(() => null, { app: APP, failures: FAILURES });
  const place = await show(bench, <Shell bench={bench} model={{} as never} panels={[]} />);
  const tabs = [...place.querySelectorAll<HTMLElement>('[role=tab]')];
  expect(tabs.map(tab => tab.textContent)).toEqual(['Export & serve', 'needs attentionFailures1 failed', 'Unknown']);
  expect(place.textContent).not.toContain('out of memory');
  await settled(() => tabs[1]?.click());
  expect(place.textContent).toContain('int8: out of memory');
  await click(place, 'Retry');
  expect(asked.at(-1)).toEqual(['retry_failure', { key: 'k' }]);
  await settled(() => tabs[2]?.click());
  expect(place.querySelector('[role=alert]')?.textContent).toContain('no panel "unknown"');
});

it('it can be shown alone', async () => {
  const { bench } = aBench(() => null, { app: { ...APP, tab: '' }, failures: FAILURES });
  const place = await show(bench, <Shell bench={bench} model={{} as never} panels={['failures']} />);
  expect(place.querySelector('[role=tab]')).toBeNull();
  expect(place.textContent).toContain('int8: out of memory');
});
