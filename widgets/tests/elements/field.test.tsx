// @vitest-environment jsdom
import { afterEach, expect, it } from 'vitest';
import { Choose } from '../../src/app/data/choose';
import type { IData } from '../../src/app/data/section';
import { type IServe, Serving } from '../../src/app/serve/serving';
import { aBench, clear, click, passBy, settled, show, write } from '../dom';

afterEach(clear);

const SERVE: IServe = { ready: true, name: 'fashion', server: null, taken: 0, free: 0, samples: 0 };

function someData(more: Partial<IData> = {}): IData {
  const given = { name: '', path: 'digits.npz', scale: '1/255', reshape: '', layout: '', mean: '', std: '' };
  return {
    ...given,
    settings: {},
    facts: {},
    meaning: null,
    resolution: { words: '', enough: true },
    ...more
  } as IData;
}

const field = (place: Element, label: string): HTMLInputElement => {
  const name = [...place.querySelectorAll('label')].find(item => item.textContent === label);
  return place.querySelector(`[id="${name?.htmlFor}"]`) as HTMLInputElement;
};
const said = (place: Element): (string | null)[] =>
  [...place.querySelectorAll('[role=alert]')].map(item => item.textContent);

/** Refuses what is not a number; other commands are done. */
const kernel = (command: string, { name, text }: Record<string, unknown>): unknown => {
  if (command === 'data_names') {
    return [];
  }
  return command === 'check_setting' && text === 'a lot' ? new Error(`${name} must be a number, got 'a lot'.`) : null;
};

it('a setting that the kernel refuses gives way to the last good one as soon as the field is left', async () => {
  const { bench } = aBench(kernel, { app: { problems: {}, busy: [] } as never });
  const place = await show(bench, <Choose data={someData()} />);
  await write(field(place, 'Scale'), 'a lot');
  await passBy(field(place, 'Scale'));
  expect(field(place, 'Scale').value).toBe('1/255');
  expect(said(place)).toEqual(["scale must be a number, got 'a lot'."]);
  await write(field(place, 'Scale'), '1/127');
  expect(said(place)).toEqual([]);
  await passBy(field(place, 'Scale'));
  expect(field(place, 'Scale').value).toBe('1/127');
});

it('nothing is loaded with a setting that was refused, and everything with those that were not', async () => {
  const { bench, asked } = aBench(kernel, { app: { problems: {}, busy: [] } as never });
  const place = await show(bench, <Choose data={someData()} />);
  const loads = (): unknown[] => asked.filter(([command]) => command === 'load_data');
  await write(field(place, 'Reshape'), '8, 8, 1');
  await write(field(place, 'Mean'), 'a lot'); // the focus has not left it when Load is pressed
  await click(place, 'Load');
  expect(loads()).toEqual([]);
  expect([field(place, 'Reshape').value, field(place, 'Mean').value]).toEqual(['8, 8, 1', '']);
  await click(place, 'Load'); // still the press that has made the field lose the focus
  expect(loads()).toEqual([]);
  window.dispatchEvent(new Event('pointerdown'));
  await click(place, 'Load');
  const settings = { scale: '1/255', reshape: '8, 8, 1', layout: '', mean: '', std: '' };
  expect(loads()).toEqual([['load_data', { path: 'digits.npz', ...settings }]]);
  expect(said(place)).toEqual([]); // the reason goes with what it was about
});

it('data that cannot be read leave the fields as the data that are there were read', async () => {
  const { bench } = aBench(kernel, { app: { problems: {}, busy: [] } as never });
  const place = await show(bench, <Choose data={someData()} />);
  await write(field(place, 'Path or variable'), 'nothing.npz');
  await write(field(place, 'Reshape'), '3, 3');
  await click(place, 'Load');
  expect(field(place, 'Path or variable').value).toBe('nothing.npz'); // it is being read
  const app = { problems: { data: 'nothing.npz does not exist.' }, busy: [] } as never;
  await settled(() => bench.receive({ type: 'sections', sections: { app } }));
  expect(field(place, 'Path or variable').value).toBe('digits.npz');
  expect(field(place, 'Reshape').value).toBe('');
});

it('a path that could not be read can be corrected while there is nothing else', async () => {
  const { bench } = aBench(kernel, { app: { problems: {}, busy: [] } as never });
  const place = await show(bench, <Choose data={someData({ path: '', facts: null })} />);
  await write(field(place, 'Path or variable'), 'digit.npz');
  await click(place, 'Load');
  const app = { problems: { data: 'digit.npz does not exist.' }, busy: [] } as never;
  await settled(() => bench.receive({ type: 'sections', sections: { app } }));
  expect(field(place, 'Path or variable').value).toBe('digit.npz');
});

it('a port that is not one, or that is refused, gives way to the last one that worked', async () => {
  const { bench, asked } = aBench(() => null, { serve: SERVE, app: { problems: {}, busy: [] } as never });
  const place = await show(bench, <Serving />);
  for (const port of ['70000', '80.5', 'http', '']) {
    await write(field(place, 'Port'), port);
    await click(place, 'Start');
    expect(field(place, 'Port').value).toBe('8501');
    expect(said(place)[0]).toContain(`“${port}” is not a port.`);
  }
  expect(asked).toEqual([]);
  await write(field(place, 'Port'), '80');
  await click(place, 'Start');
  expect(asked).toEqual([['serve', { port: 80 }]]);
  expect(field(place, 'Port').value).toBe('80');
  const app = { problems: { serve: 'Port 80 needs an administrator.' }, busy: [] } as never;
  await settled(() => bench.receive({ type: 'sections', sections: { app } }));
  expect(field(place, 'Port').value).toBe('8501');
  expect(said(place)).toEqual(['Port 80 needs an administrator.']);
});
