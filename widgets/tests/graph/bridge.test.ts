import { readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';

const code = readFileSync(new URL('../../deploykit_widgets/server/netron_bridge.js', import.meta.url), 'utf8');

type Handler = (event: unknown) => void;

/** As much of a page as the bridge touches. */
class Page {
  readonly told: Record<string, unknown>[] = [];
  readonly ports: MessagePort[] = [];
  readonly meta: { name: string; content: string }[] = [];
  readonly handlers = new Map<string, Handler>();
  readonly window: Record<string, unknown> & { __view__?: unknown };

  constructor(search: string) {
    const origin = 'https://example.org';
    const parent = {
      postMessage: (message: Record<string, unknown>, target: string, ports: MessagePort[] = []) => {
        expect(target).toBe(origin);
        this.told.push(message);
        this.ports.push(...ports);
      }
    };
    const addEventListener = (name: string, handler: Handler) => this.handlers.set(name, handler);
    this.window = { location: { search, origin }, parent, addEventListener };
    const document = {
      addEventListener,
      createElement: () => ({}),
      head: { appendChild: (meta: { name: string; content: string }) => this.meta.push(meta) },
      documentElement: { style: {} },
      styleSheets: []
    };
    new Function('window', 'document', 'CSSMediaRule', code)(this.window, document, class {});
  }

  send(data: unknown, from: unknown = this.window.parent): void {
    this.handlers.get('message')?.({ data, source: from, origin: 'https://example.org' });
  }
}

class Target {
  selection = new Set<unknown>();
  listener: (() => void) | null = null;
  scrollTo = vi.fn();

  on(_: string, listener: () => void): void {
    this.listener = listener;
  }

  activate(node: unknown): unknown[] {
    this.selection = new Set();
    this.listener?.();
    this.selection = new Set([{ value: node }]);
    this.listener?.();
    return [node];
  }
}

const NODES = [
  { name: 'block/conv', type: { name: 'Conv' }, outputs: [{ value: [{ name: 'y\n3' }] }] },
  { name: '', type: { name: 'Relu' }, outputs: [{ value: [{ name: 'z' }] }] }
];

class View {
  private drawn: unknown = null;
  activeTarget = { nodes: NODES };

  get target(): unknown {
    return this.drawn;
  }

  set target(value: unknown) {
    this.drawn = value;
  }
}

function open(): { page: Page; view: View; target: Target } {
  const page = new Page('?path=a%20b%2Fnet%231.onnx');
  const view = new View();
  page.window.__view__ = view;
  const target = new Target();
  view.target = target;
  return { page, view, target };
}

describe('the bridge', () => {
  it('asks JupyterLab for the files of the model, and for nothing else', async () => {
    const { page } = open();
    expect(page.meta).toEqual([
      { name: 'file', content: 'deploykit-model/net%231.onnx' },
      { name: 'identifier', content: 'net#1.onnx' }
    ]);
    const read = page.window.deploykitRead as (url: string) => Promise<Uint8Array> | null;
    expect(read('https://example.org/deploykit/netron/ab/onnx-metadata.json?version=1')).toBeNull();
    const folder = 'https://example.org/deploykit/netron/ab/deploykit-model';
    const [model, beside] = [read(`${folder}/net%231.onnx?cb=1`), read(`${folder}/100%.data?cb=1`)];
    expect(page.told.slice(-2)).toEqual([
      { source: 'deploykit-graph', type: 'read', name: 'net#1.onnx' },
      { source: 'deploykit-graph', type: 'read', name: '100%.data' }
    ]);
    page.ports[0]?.postMessage({ bytes: new Uint8Array([1, 2]).buffer });
    page.ports[1]?.postMessage({ reason: 'There is none.' });
    expect(await model).toEqual(new Uint8Array([1, 2]));
    await expect(beside).rejects.toThrow('There is none.');
  });

  it('tells once which layer was selected, with all names it has', async () => {
    const { page, target } = open();
    target.activate(NODES[0]);
    await Promise.resolve();
    target.activate(NODES[1]);
    await Promise.resolve();
    expect(page.told.length).toBe(3);
    expect(page.told.slice(0, 1)).toEqual([{ source: 'deploykit-graph', type: 'ready', layers: 2 }]);
    expect(page.told.slice(1)).toMatchObject([
      { type: 'selected', layer: 'block/conv', names: ['block/conv', 'y', 'Conv_0'], operator: 'Conv' },
      { type: 'selected', layer: 'z', names: ['z', 'Relu_1'], operator: 'Relu' }
    ]);
  });

  it.each(['block/conv', 'y', 'Conv_0', 'other/conv'])('shows the layer called %s', layer => {
    const { page, target } = open();
    page.send({ source: 'deploykit', type: 'show', layer });
    expect(target.scrollTo).toHaveBeenCalledWith([NODES[0]]);
  });

  it('shows a layer that was asked for before the graph was drawn', () => {
    const page = new Page('?path=net.onnx');
    const view = new View();
    page.window.__view__ = view;
    page.send({ source: 'deploykit', type: 'show', layer: 'z' });
    const target = new Target();
    view.target = target;
    expect(target.scrollTo).toHaveBeenCalledWith([NODES[1]]);
  });

  it('says that there is no such layer, and listens only to its parent', () => {
    const { page, target } = open();
    page.send({ source: 'deploykit', type: 'show', layer: 'nothing' });
    page.send({ source: 'deploykit', type: 'show', layer: 'z' }, {});
    expect(page.told.at(-1)).toMatchObject({ type: 'missing', layer: 'nothing' });
    expect(target.scrollTo).not.toHaveBeenCalled();
  });

  it('says so when Netron is another', () => {
    const page = new Page('');
    page.window.__view__ = {};
    expect(page.told).toMatchObject([{ type: 'broken' }]);
    const { page: second, view } = open();
    view.target = { on: () => undefined };
    expect(second.told.at(-1)).toMatchObject({ type: 'broken' });
  });
});
