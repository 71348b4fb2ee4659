// @vitest-environment jsdom
import { afterEach, expect, it } from 'vitest';
import { bands, type IMonitor, Panel } from '../../src/app/serve/monitor';
import { aBench, clear, show } from '../dom';

afterEach(clear);

const STAGE = {
  stage: 'run',
  requests: 2000,
  p50_ms: { value: 0.1, low: 0.09, high: 0.12 },
  p99_ms: { value: 0.46, low: 0.4, high: 0.5 },
  exported_p99_ms: 0.2
};

const FOUND: IMonitor = {
  models: [
    {
      name: 'digits',
      version: '2',
      performance: { stages: [STAGE] },
      drift: {
        text: 'No drift in 900 requests.',
        evidence: 100,
        threshold: 100_000,
        alarm: false,
        features: [
          { name: 'image: mean', shift: -3 },
          { name: 'confidence', shift: 0.5 }
        ]
      },
      accuracy: { text: 'Accuracy is estimated at 90 %.' },
      note: ''
    }
  ],
  alarms: [],
  problems: ['The disk is full.'],
  history: [
    [
      { at: 0, evidence: 1 },
      { at: 10, evidence: null },
      { at: 20, evidence: 100 }
    ]
  ]
};

const panel = (found: IMonitor): Promise<HTMLElement> => show(aBench(() => null, {}).bench, <Panel found={found} />);

it('latency is said with its intervals, beside what was exported', () => {
  expect(bands(STAGE)).toBe(
    'Run stage: median 0.100 ms (0.0900 to 0.120), 99th percentile 0.460 ms (0.400 to 0.500), 0.200 ms when exported.'
  );
  expect(bands({ ...STAGE, p50_ms: null, exported_p99_ms: null })).toContain('median —, ');
});

it('evidence is drawn on a logarithmic scale against its threshold', async () => {
  const place = await panel(FOUND);
  const drawn = place.querySelector('.dk-drift-line') as SVGElement;
  expect(drawn.getAttribute('aria-label')).toBe('Evidence of drift, logarithmic: 100 now, alarm at 100000');
  const limit = Number(drawn.querySelector('line')?.getAttribute('y1'));
  const path = drawn.querySelector('path')?.getAttribute('d') ?? '';
  const [first, last] = path
    .slice(1)
    .split('L')
    .map(point => Number(point.split(' ')[1]));
  expect(path.split('L').length).toBe(2); // the point without evidence is left out
  // 1, 100 and 100,000 are at 0, 2 and 5: heights are in that proportion.
  expect(((first as number) - (last as number)) / ((first as number) - limit)).toBeCloseTo(2 / 5, 2);
});

it('a feature that has left its band is marked, and its direction seen', async () => {
  const place = await panel(FOUND);
  const rows = [...place.querySelectorAll('.dk-features tbody tr')];
  expect(rows.map(row => row.className)).toEqual(['dk-moved', '']);
  const bars = rows.map(row => row.querySelector('rect') as SVGRectElement);
  expect(bars.map(bar => [Number(bar.getAttribute('x')), Number(bar.getAttribute('width')).toFixed(1)])).toEqual([
    [25, '25.0'],
    [50, '4.2']
  ]);
});

it('alarms are read out, and their absence as well', async () => {
  const calm = await panel(FOUND);
  expect(calm.querySelector('[role=status]')?.textContent).toBe('No alarms.');
  clear();
  const alarm = { kind: 'drift', model: 'digits', version: '2', text: 'The mean moved.' };
  const place = await panel({ ...FOUND, alarms: [alarm] });
  expect(place.querySelector('[role=status]')?.textContent).toBe('Alarm digits/2: The mean moved.');
  expect(place.textContent).toContain('The disk is full.');
});
