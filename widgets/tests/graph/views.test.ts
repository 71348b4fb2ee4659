// @vitest-environment jsdom
import { expect, it, vi } from 'vitest';
import { GRAPH_ORIGIN } from '../../src/graph/messages';
import { GraphLink, seen } from '../../src/graph/views';

const VIEW = { source: 'deploykit-graph', type: 'view', x: 0.5, y: 0.25, zoom: 1.2 };

function graph(linked = true, visible = true) {
  const contentWindow = { postMessage: vi.fn() };
  const frame = { contentWindow } as unknown as HTMLIFrameElement;
  return { contentWindow, frame: () => frame, isVisible: () => visible, linked };
}

function tell(link: GraphLink, from: { contentWindow: unknown }, data: unknown = VIEW, origin = GRAPH_ORIGIN) {
  link.onMessage({ data, origin, source: from.contentWindow as MessageEventSource });
}

it('takes what a page shows only in its form', () => {
  expect(seen(VIEW)).toEqual({ x: 0.5, y: 0.25, zoom: 1.2 });
  for (const wrong of [null, 'x', { ...VIEW, zoom: '1' }, { ...VIEW, x: Number.NaN }, { ...VIEW, source: 'other' }]) {
    expect(seen(wrong)).toBeNull();
  }
});

it('passes it to the other graphs that are in sight and linked, never back', () => {
  const link = new GraphLink();
  const [one, other, alone, hidden] = [graph(), graph(), graph(false), graph(true, false)];
  const closes = [one, other, alone, hidden].map(item => link.add(item));
  tell(link, one);
  expect(other.contentWindow.postMessage).toHaveBeenCalledExactlyOnceWith(
    { source: 'deploykit', type: 'view', x: 0.5, y: 0.25, zoom: 1.2 },
    '*'
  );
  tell(link, alone); // moves by itself
  tell(link, one, VIEW, window.location.origin); // no sandbox
  tell(link, { contentWindow: {} });
  closes[1]?.();
  tell(link, one);
  for (const item of [one, alone, hidden]) {
    expect(item.contentWindow.postMessage).not.toHaveBeenCalled();
  }
  expect(other.contentWindow.postMessage).toHaveBeenCalledOnce();
});
