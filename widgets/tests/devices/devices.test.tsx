// @vitest-environment jsdom
import { afterEach, expect, it, vi } from 'vitest';
import { Devices, type IRanked } from '../../src/app/devices/devices';
import { SceneProvider } from '../../src/app/tradeoff/scene';
import type { ITradeoff } from '../../src/app/tradeoff/section';
import { aBench, clear, click, settled, show, write } from '../dom';
import { aRow } from '../rows';

const measure = { title: '', unit: '', higher: false, better: '' };
const TRADEOFF: ITradeoff = {
  maxDrop: 0.01,
  minimize: 'latency',
  costs: [],
  metric: 'accuracy',
  unit: 'pp',
  limit: -1,
  measures: [
    { ...measure, name: 'change', label: 'accuracy change', unit: 'pp', higher: true, better: 'better' },
    { ...measure, name: 'latency', label: 'latency', unit: 'ms', better: 'faster' }
  ],
  settings: [],
  families: [],
  best: null
};
const cells = (device: string, name: string, verdict: string): string[] => ['CPU, 2 cores', device, verdict, name];
const RANKED: IRanked = {
  summary: '1 of 2 devices meets all limits.',
  headers: ['Machine', 'Device', 'Verdict', 'Best candidate'],
  devices: [
    {
      key: 'here 0',
      title: 'cpu · CPU, 2 cores',
      met: true,
      best: 'a',
      here: true,
      cells: cells('cpu', 'int8 static', 'meets all limits'),
      rows: [aRow(), aRow({ key: 'b', state: 'beaten', p50: [0.2, 0.19, 0.21] })]
    },
    {
      key: 'board 1',
      title: 'cuda · CPU, 2 cores',
      met: false,
      best: 'c',
      here: false,
      cells: cells('cuda', 'float16', 'energy is not known'),
      rows: [aRow({ key: 'c', device: 'cuda', p50: [0.02, 0.019, 0.021] })]
    }
  ]
};
const scene = (
  <SceneProvider tradeoff={TRADEOFF}>
    <Devices />
  </SceneProvider>
);

afterEach(clear);

it('each device has a chart of its own with its front, and a line with its best candidate', async () => {
  const { bench } = aBench(() => RANKED, { tradeoff: TRADEOFF });
  const place = await show(bench, scene);
  const plots = [...place.querySelectorAll('svg[role=img]')].map(svg => svg.getAttribute('aria-label'));
  expect(plots.filter(label => label?.includes('candidate'))).toEqual([
    'cpu · CPU, 2 cores: 2 candidates, 1 on the front or tied with it. The table has them.',
    'cuda · CPU, 2 cores: 1 candidate, 1 on the front or tied with it. The table has them.'
  ]);
  const lines = [...place.querySelectorAll('tbody tr')];
  expect(lines.map(line => line.classList.contains('dk-devices-missed'))).toEqual([false, true]);
  expect(lines[1]?.textContent).toContain('energy is not known');
});

it('machines of one title each keep their chart and their line', async () => {
  const said = vi.spyOn(console, 'error');
  const two = RANKED.devices.map((device, at) => ({
    ...device,
    here: false,
    best: 'a',
    title: 'cpu · CPU',
    key: `${at}`
  }));
  const { bench } = aBench(() => ({ ...RANKED, devices: two }), { tradeoff: TRADEOFF });
  const place = await show(bench, scene);
  expect(place.querySelectorAll('tbody tr')).toHaveLength(2);
  expect(place.querySelectorAll('svg[role=img]')).toHaveLength(2);
  expect(said).not.toHaveBeenCalled();
  said.mockRestore();
});

it('the best candidate of a device in this store can be picked, that of another store cannot', async () => {
  const { bench, asked } = aBench(command => (command === 'devices' ? RANKED : null), { tradeoff: TRADEOFF });
  const place = await show(bench, scene);
  await settled(() => bench.receive({ type: 'rows', set: { a: aRow() }, gone: [], reset: false }));
  await click(place, 'int8 static');
  expect(bench.store.getState().view.a).toBe('a');
  expect([...place.querySelectorAll('tbody button')]).toHaveLength(1);
  expect(asked[0]).toEqual(['devices', { limits: bench.store.getState().view.limits, goal: [0.01, 'latency'] }]);
});

it('a limit counts once its field is left, and a refusal of the kernel is shown', async () => {
  const { bench, asked } = aBench(
    (command, { limits }) =>
      command !== 'devices'
        ? null
        : (limits as { p50: string }).p50 === 'fast'
          ? new Error('The limit of latency must be a positive number.')
          : RANKED,
    { tradeoff: TRADEOFF }
  );
  const place = await show(bench, scene);
  const field = place.querySelector('input');
  await write(field, 'fast');
  await settled(() => field?.dispatchEvent(new FocusEvent('focusout', { bubbles: true })));
  const limits = asked.map(([, args]) => args.limits as { p50: string });
  expect(limits.at(-1)?.p50).toBe('fast');
  expect(place.querySelector('[role=alert]')?.textContent).toContain('must be a positive number');
});
