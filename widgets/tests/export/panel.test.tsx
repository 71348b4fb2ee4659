// @vitest-environment jsdom
import { act } from 'react';
import { afterEach, expect, it } from 'vitest';
import ExportPanel, { type IExport } from '../../src/app/export/panel';
import type { IControl } from '../../src/app/space/values';
import { aBench, clear, show } from '../dom';

afterEach(clear);

const EXPORT: IExport = {
  chosen: { key: 'k', name: 'int8', runtime: 'LiteRT', format: 'tflite', met: true, failed: false },
  best: null,
  layouts: [
    { name: 'plain', label: 'Plain', place: 'Servers', help: 'Any format.', reason: '', settings: [] },
    { name: 'tf', label: 'TF Serving', place: 'Servers', help: '', reason: '', settings: [] },
    { name: 'board', label: 'Board', place: 'Devices', help: 'A C array.', reason: 'it takes TFLite', settings: [] }
  ],
  layout: 'plain',
  folder: 'served/fashion',
  checks: [],
  artifact: null,
  current: true
};

it('what was typed is there again after a look at another view, unless the kernel proposes another folder', async () => {
  const bench = aBench(() => null, { export: EXPORT }).bench;
  const field = (place: HTMLElement): HTMLInputElement => place.querySelector('input.dk-input') as HTMLInputElement;
  const first = await show(bench, <ExportPanel />);
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value')?.set;
  act(() => {
    set?.call(field(first), '');
    field(first).dispatchEvent(new Event('input', { bubbles: true }));
  });
  expect(field(first).value).toBe('');
  act(() => {
    set?.call(field(first), 'elsewhere');
    field(first).dispatchEvent(new Event('input', { bubbles: true }));
  });
  act(() => first.querySelector<HTMLInputElement>('[value=tf]')?.click());
  const second = await show(bench, <ExportPanel />);
  expect(field(second).value).toBe('elsewhere');
  expect(second.querySelector<HTMLInputElement>('[value=tf]')?.checked).toBe(true);
  act(() => bench.receive({ type: 'sections', sections: { export: { ...EXPORT, folder: 'served/other' } } }));
  expect(field(second).value).toBe('served/other');
});

const control = (name: string, other: Partial<IControl>): IControl => ({
  name,
  label: name,
  kind: 'numbers',
  help: `Help of ${name}.`,
  unit: '',
  share: false,
  minimum: null,
  maximum: null,
  step: null,
  automatic: false,
  empty: '',
  choices: [],
  values: [],
  first: true,
  problem: '',
  fixed: false,
  ...other
});

it('settings of a layout are sent with their kinds; what is not a number is left to the kernel', async () => {
  const settings = [
    control('version', { values: [1] }),
    control('part', { values: [0.5], share: true }),
    control('threads', { values: [null], automatic: true }),
    control('packed', {
      kind: 'choices',
      values: [true],
      choices: [
        { value: true, label: 'on', reason: '' },
        { value: false, label: 'off', reason: '' }
      ]
    }),
    control('tags', { kind: 'names', values: ['a, b'] })
  ];
  const layouts = EXPORT.layouts.map(layout => (layout.name === 'tf' ? { ...layout, settings } : layout));
  const { bench, asked } = aBench(() => new Error('version must be at least 1'), { export: { ...EXPORT, layouts } });
  const place = await show(bench, <ExportPanel />);
  expect(place.querySelector('.dk-settings')).toBeNull();
  act(() => place.querySelector<HTMLInputElement>('[value=tf]')?.click());
  const shown = [...place.querySelectorAll<HTMLInputElement>('.dk-settings input')];
  expect(shown.map(({ value }) => value)).toEqual(['1', '50', '', 'a, b']);
  const change = (of: HTMLInputElement | HTMLSelectElement, value: string): void => {
    Object.getOwnPropertyDescriptor(Object.getPrototypeOf(of), 'value')?.set?.call(of, value);
    of.dispatchEvent(new Event(of instanceof HTMLSelectElement ? 'change' : 'input', { bubbles: true }));
  };
  act(() => change(shown[0] as HTMLInputElement, '7'));
  act(() => change(shown[1] as HTMLInputElement, '25'));
  act(() => change(place.querySelector('select') as HTMLSelectElement, '1'));
  await act(async () => place.querySelector('form')?.requestSubmit());
  const parameters = { version: 7, part: 0.25, threads: null, packed: false, tags: 'a, b' };
  expect(asked).toEqual([['export', { folder: 'served/fashion', layout: 'tf', parameters }]]);
  expect(place.textContent).toContain('version must be at least 1');
  act(() => change(shown[0] as HTMLInputElement, 'two'));
  await act(async () => place.querySelector('form')?.requestSubmit());
  expect(asked[1]?.[1]).toMatchObject({ parameters: { version: 'two', part: 0.25 } });
});

it('targets stand by the place they go to, and only the chosen one is explained', async () => {
  const place = await show(aBench(() => null, { export: EXPORT }).bench, <ExportPanel />);
  const groups = [...place.querySelectorAll('.dk-layouts [role=group]')];
  expect(groups.map(group => [group.getAttribute('aria-label'), group.querySelectorAll('input').length])).toEqual([
    ['Servers', 2],
    ['Devices', 1]
  ]);
  const help = (): string => {
    const chosen = place.querySelector('.dk-layouts input:checked');
    return place.querySelector(`[id="${chosen?.getAttribute('aria-describedby')}"]`)?.textContent ?? '';
  };
  expect(help()).toBe('Any format.');
  expect(groups[1]?.textContent).toContain('not possible');
  act(() => place.querySelector<HTMLInputElement>('[value=board]')?.click());
  expect(help()).toBe('Not possible: it takes TFLite.');
});
