// @vitest-environment jsdom
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { expect, it, vi } from 'vitest';
import { MIME_TYPE } from '../../src/charts/spec';

/** On a machine that is busy. */
const SOON = { timeout: 30_000 };
const embed = vi.hoisted(() => vi.fn());
vi.mock('../../src/charts/parts', () => ({ chartParts: () => Promise.resolve({ embed, options: {} }) }));
vi.mock('@lumino/widgets', () => ({
  Widget: class {
    node = document.createElement('div');
    addClass(): void {}
  }
}));

it('a chart that cannot be drawn stays a picture when the theme changes, and one that can is drawn then', async () => {
  const { default: extension } = await import('../../src/charts/vegalite');
  const plugin = extension as IRenderMime.IExtension;
  const chart = plugin.rendererFactory.createRenderer({} as IRenderMime.IRendererOptions);
  embed.mockRejectedValue(new Error('No canvas.'));
  const data = { [MIME_TYPE]: { description: 'points' }, 'image/svg+xml': '<svg/>' };
  await chart.renderModel({ data } as unknown as IRenderMime.IMimeModel);
  const shown = (): string => chart.node.innerHTML;
  expect(chart.node.querySelector('img')?.alt).toBe('points');
  document.body.dataset.jpThemeLight = 'false';
  await vi.waitFor(() => expect(embed).toHaveBeenCalledTimes(2), SOON);
  await vi.waitFor(() => expect(shown()).toContain('No canvas.'), SOON);
  expect(chart.node.querySelector('img')?.alt).toBe('points');

  embed.mockImplementation((host: HTMLElement) => {
    expect(chart.node.querySelector('img')).not.toBeNull(); // what is shown stays until the chart is there
    host.textContent = 'drawn';
    return Promise.resolve({ finalize: vi.fn() });
  });
  document.body.dataset.jpThemeLight = 'true';
  await vi.waitFor(() => expect(shown()).toBe('<div>drawn</div>'), SOON);
});
