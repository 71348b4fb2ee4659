import { describe, expect, it } from 'vitest';
import { parse } from '../../src/graph/messages';

const source = 'deploykit-graph';

describe('messages of a graph', () => {
  it('are taken in their form only', () => {
    const selected = { type: 'selected', layer: 'a', names: ['a', 'b'], operator: 'Conv' };
    expect(parse({ source, ...selected, more: 1 })).toEqual(selected);
    expect(parse({ source, type: 'ready', layers: 3 })).toEqual({ type: 'ready', layers: 3 });
    expect(parse({ source, type: 'missing', layer: 'a' })).toEqual({ type: 'missing', layer: 'a' });
    expect(parse({ source, type: 'read', name: 'a.data' })).toEqual({ type: 'read', name: 'a.data' });
    expect(parse({ source, type: 'broken', message: 'why' })).toEqual({ type: 'broken', message: 'why' });
  });

  it.each([
    null,
    'text',
    { type: 'ready', layers: 3 },
    { source: 'other', type: 'ready', layers: 3 },
    { source, type: 'selected', layer: 1, names: [], operator: '' },
    { source, type: 'selected', layer: 'a', names: [1], operator: '' },
    { source, type: 'read', name: 1 },
    { source, type: 'unknown' }
  ])('are ignored otherwise: %j', message => {
    expect(parse(message)).toBeNull();
  });
});
