import { describe, expect, it } from 'vitest';
import { harmless, themeConfig } from '../src/chartspec';

describe('a chart', () => {
  it('brings no settings of its own', () => {
    const spec = { mark: 'point', usermeta: { embedOptions: { ast: false, patch: 'https://example.org/x.json' } } };
    expect(harmless(spec)).toEqual({ mark: 'point' });
    expect(spec.usermeta.embedOptions.ast).toBe(false);
  });

  it('takes the colors of the theme, and has some without one', () => {
    const config = themeConfig(name => (name === '--jp-ui-font-color0' ? '#fff' : '')) as Record<string, object>;
    expect(config.title).toMatchObject({ color: '#fff' });
    expect(config.axis).toMatchObject({ labelColor: '#424242' });
  });
});
