// @vitest-environment jsdom
import { act, createElement } from 'react';
import { createRoot } from 'react-dom/client';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { folded } from '../../src/app/export/tree';
import { percent } from '../../src/app/format';
import { type ILayer, sorted } from '../../src/app/model/layerrows';
import { Layers } from '../../src/app/model/layers';
import type { IModelFacts } from '../../src/app/model/section';
import type { ToKernel } from '../../src/app/protocol';
import { Bench, BenchProvider } from '../../src/app/store';
import { contentsPath } from '../../src/paths';

const HOSTILE = '<img src=x onerror=alert(1)>';

function layer(name: string, parameters = 0, time: number | null = null): ILayer {
  return { name, type: 'Conv2D', shape: '? × 3', parameters, time, fused: [] };
}

describe('layers', () => {
  const layers = [layer('b10', 5, 0.2), layer('b9', 7), layer('a', 0, 0.5)];

  it('are sorted by numbers in names, and unknown values come last in both directions', () => {
    const names = (found: ILayer[]): string[] => found.map(({ name }) => name);
    expect(names(sorted(layers, '', false))).toEqual(['b10', 'b9', 'a']);
    expect(names(sorted(layers, 'name', false))).toEqual(['a', 'b9', 'b10']);
    expect(names(sorted(layers, 'share', true))).toEqual(['b9', 'b10', 'a']);
    expect(names(sorted(layers, 'time', true))).toEqual(['a', 'b10', 'b9']);
    expect(names(sorted(layers, 'time', false))).toEqual(['b10', 'a', 'b9']);
  });

  it('have shares in percent', () => {
    expect([0, 0.0001, 0.031, 0.0999, 0.58, 1].map(percent)).toEqual([
      '0 %',
      '< 0.1 %',
      '3.1 %',
      '10 %',
      '58 %',
      '100 %'
    ]);
  });
});

describe('the table of layers', () => {
  const facts = { file: HOSTILE, digest: 'd', layers: 2, parameters: 12, path: '/x', bytes: 1 } as IModelFacts;
  let root: ReturnType<typeof createRoot> | null = null;

  afterEach(() => {
    act(() => root?.unmount());
    document.body.replaceChildren();
  });

  async function shown(layers: ILayer[]): Promise<{ place: HTMLElement; bench: Bench }> {
    vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
    vi.stubGlobal(
      'ResizeObserver',
      class {
        observe(): void {}
        unobserve(): void {}
        disconnect(): void {}
      }
    );
    Element.prototype.scrollTo ??= () => undefined;
    // An element without a layout has no height, and no rows would be drawn.
    vi.spyOn(Element.prototype, 'clientHeight', 'get').mockReturnValue(400);
    vi.spyOn(Element.prototype, 'clientWidth', 'get').mockReturnValue(700);
    const bench: Bench = new Bench((message: ToKernel) => {
      if (message.type === 'do') {
        const value = { total: layers.length, runtime: '', elsewhere: 0, layers };
        queueMicrotask(() => bench.receive({ type: 'reply', id: message.id, ok: true, value }));
      }
    });
    const place = document.createElement('div');
    document.body.append(place);
    root = createRoot(place);
    await act(async () => {
      const table = createElement(Layers, { facts, profile: '', home: '/home/ann' });
      root?.render(createElement(BenchProvider, { value: bench }, table));
      await new Promise(resolve => setTimeout(resolve, 0));
    });
    return { place, bench };
  }

  it('shows names as text', async () => {
    const { place } = await shown([layer(HOSTILE, 12)]);
    expect(place.querySelector('img')).toBeNull();
    expect(place.querySelector('[role=gridcell]')?.textContent).toBe(HOSTILE);
  });

  it('is walked by keys, and a layer is chosen by Enter', async () => {
    const { place, bench } = await shown([layer('first', 5), layer('second', 7)]);
    const grid = place.querySelector<HTMLElement>('[role=grid]');
    const press = (key: string): void =>
      act(() => void grid?.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true })));
    press('ArrowDown');
    press('Enter');
    expect(bench.store.getState().view.layer).toEqual(['second']);
    expect(place.querySelector('[aria-selected=true]')?.textContent).toContain('second');
  });

  it('says how it is sorted', async () => {
    const { place } = await shown([layer('first', 5), layer('second', 7)]);
    const head = [...place.querySelectorAll<HTMLElement>('[role=columnheader]')].find(
      cell => cell.textContent === 'Parameters'
    );
    await act(async () => head?.querySelector('button')?.click());
    expect(head?.getAttribute('aria-sort')).toBe('descending');
    const names = [...place.querySelectorAll('[role=rowgroup] [role=row]')].map(row => row.firstChild?.textContent);
    expect(names).toEqual(['second', 'first']);
  });
});

describe('a path of the kernel among the contents', () => {
  it('is found below the root', () => {
    expect(contentsPath('/home/ann/models', '/home/ann', '/home/ann/models/a/b.onnx')).toBe('a/b.onnx');
    expect(contentsPath('~/models/', '/home/ann', '/home/ann/models')).toBe('');
    expect(contentsPath('~', '/home/ann', '/home/ann/b.onnx')).toBe('b.onnx');
    expect(contentsPath('/', '/root', '/tmp/b.onnx')).toBe('tmp/b.onnx');
    expect(contentsPath('C:/models', 'C:/Users/me', 'C:\\models\\b.onnx')).toBe('b.onnx');
  });

  it('is none outside of it', () => {
    expect(contentsPath('/home/ann/models', '/home/ann', '/home/ann/modelshop/b.onnx')).toBeNull();
    expect(contentsPath('~/models', '/home/ann', '/tmp/b.onnx')).toBeNull();
    expect(contentsPath('', '/home/ann', '/tmp/b.onnx')).toBeNull();
  });
});

it('files are folded into folders with their sizes', () => {
  const tree = folded([
    { path: 'golden/inputs.npz', bytes: 5 },
    { path: 'model/1/saved_model.pb', bytes: 7 },
    { path: 'golden/outputs.npz', bytes: 3 },
    { path: 'README.md', bytes: 2 }
  ]);
  expect(tree.bytes).toBe(17);
  expect(tree.folders.map(({ name, bytes }) => [name, bytes])).toEqual([
    ['golden', 8],
    ['model', 7]
  ]);
  expect(tree.folders[1]?.folders[0]?.files).toEqual([{ path: 'saved_model.pb', bytes: 7 }]);
  expect(tree.files.map(({ path }) => path)).toEqual(['README.md']);
});
