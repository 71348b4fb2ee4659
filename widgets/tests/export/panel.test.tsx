// @vitest-environment jsdom
import { act } from 'react';
import { afterEach, expect, it } from 'vitest';
import ExportPanel, { type IExport } from '../../src/app/export/panel';
import { aBench, clear, show } from '../dom';

afterEach(clear);

const EXPORT: IExport = {
  chosen: { key: 'k', name: 'int8', runtime: 'LiteRT', format: 'tflite', met: true, failed: false },
  best: null,
  layouts: [
    { name: 'plain', label: 'Plain', help: '', reason: '' },
    { name: 'tf', label: 'TF Serving', help: '', reason: '' }
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
