import { describe, expect, it } from 'vitest';
import { prepare, themeConfig } from '../../src/charts/spec';

describe('a chart', () => {
  it('brings no settings of its own', () => {
    const spec = { mark: 'point', usermeta: { embedOptions: { ast: false, patch: 'https://example.org/x.json' } } };
    expect(prepare(spec, false)).toEqual({ mark: 'point' });
    expect(spec.usermeta.embedOptions.ast).toBe(false);
  });

  it('takes its dark colors in a dark theme, and leaves data alone', () => {
    const colors = { '#0F4C9C': '#4596FF', '#000000': 'url(x)' };
    const spec = {
      data: { values: [{ a: '#0F4C9C' }] },
      encoding: { color: { scale: { range: ['#0f4c9c', '#000000', '#123456'] } } },
      usermeta: { deploykit: { dark: colors } }
    };
    expect(prepare(spec, true)).toEqual({
      data: { values: [{ a: '#0F4C9C' }] },
      encoding: { color: { scale: { range: ['#4596FF', '#000000', '#123456'] } } }
    });
    expect(prepare(spec, false).encoding).toEqual(spec.encoding);
  });

  it('takes the colors of the theme, and has some without one', () => {
    const config = themeConfig(name => (name === '--jp-ui-font-color0' ? '#fff' : '')) as Record<string, object>;
    expect(config.title).toMatchObject({ color: '#fff' });
    expect(config.axis).toMatchObject({ labelColor: '#424242' });
  });
});
