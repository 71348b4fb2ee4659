/** Shows deploykit's charts in outputs of notebooks, without the network. */

import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';
import type { Result } from 'vega-embed';
import { chartParts } from './parts';
import { MIME_TYPE, prepare, themeConfig } from './spec';

class Chart extends Widget implements IRenderMime.IRenderer {
  constructor() {
    super();
    this.addClass('dk-Chart');
    // JupyterLab says nothing to renderers when the theme changes.
    this.observer = new MutationObserver(() => void this.redraw());
    this.observer.observe(document.body, { attributeFilter: ['data-jp-theme-light', 'data-jp-theme-name'] });
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.spec = model.data[MIME_TYPE] as Record<string, unknown>;
    const picture = model.data['image/svg+xml'];
    this.picture = typeof picture === 'string' ? picture : '';
    await this.redraw();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.observer.disconnect();
      this.result?.finalize();
      super.dispose();
    }
  }

  /** Draw the chart, or show its picture when that fails. */
  private async redraw(): Promise<void> {
    const turn = ++this.turn;
    try {
      await this.draw(turn);
    } catch (error) {
      if (!this.isDisposed && turn === this.turn) {
        this.showPicture(String(error));
      }
    }
  }

  private async draw(turn: number): Promise<void> {
    if (this.spec === null) {
      return;
    }
    const { embed, options: usual } = await chartParts();
    if (this.isDisposed || turn !== this.turn) {
      return;
    }
    const host = document.createElement('div');
    const dark = document.body.dataset.jpThemeLight === 'false';
    const style = getComputedStyle(document.body);
    const options = {
      ...usual,
      renderer: 'svg' as const,
      actions: { export: true, source: false, compiled: false, editor: false },
      tooltip: { theme: dark ? 'dark' : 'light' },
      config: themeConfig(name => style.getPropertyValue(name).trim())
    };
    // What is shown stays until there is something to show instead; beside it the chart knows its room.
    host.style.cssText = 'position: absolute; visibility: hidden; width: 100%';
    this.node.append(host);
    let result: Result;
    try {
      result = await embed(host, prepare(this.spec, dark) as Parameters<typeof embed>[1], options);
    } catch (error) {
      host.remove();
      throw error;
    }
    if (this.isDisposed || turn !== this.turn) {
      result.finalize(); // the theme changed, or the output went away, while it was drawn
      host.remove();
      return;
    }
    host.removeAttribute('style');
    this.node.replaceChildren(host);
    this.result?.finalize();
    this.result = result;
  }

  /** The chart as it was when it was made, in place of one that cannot be drawn. */
  private showPicture(reason: string): void {
    const svg = this.picture;
    const said = document.createElement('p');
    said.textContent = `This chart cannot be shown here. ${reason}`;
    this.node.replaceChildren(said);
    this.result?.finalize();
    this.result = null;
    if (svg) {
      const image = document.createElement('img');
      image.alt = String(this.spec?.description ?? 'The chart as an image');
      image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
      this.node.append(image);
    }
  }

  private readonly observer: MutationObserver;
  private result: Result | null = null;
  private spec: Record<string, unknown> | null = null;
  private picture = '';
  private turn = 0;
}

const extension: IRenderMime.IExtension = {
  id: 'deploykit-widgets:vegalite',
  description: 'Shows charts of deploykit.',
  rendererFactory: { safe: true, mimeTypes: [MIME_TYPE], createRenderer: () => new Chart() },
  rank: 40,
  dataType: 'json'
};

export default extension;
