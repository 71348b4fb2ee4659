/**
 * The Workbench in a notebook's output: the widget while it has a kernel, else what the notebook has kept of it.
 *
 * The widget's own type of output shows an error where there is no kernel, and other viewers show nothing. So the output
 * has a type of ours, beside HTML for everybody else, which is brought up to date while the widget lives.
 */

import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { Message } from '@lumino/messaging';
import { Panel, Widget } from '@lumino/widgets';
import { host } from './app/host';
import { liveChanged, liveOf } from './app/live';

/** Must be that of surface.py. */
export const MIME_TYPE = 'application/vnd.deploykit.workbench.v1+json';
/** A widget that lives is there by then, and what was kept does not flash up before it. */
const PATIENCE_MS = 500;
/** JupyterLab's mark of cells whose outputs scroll. */
const BOXED = 'jp-mod-outputsScrolled';
/** How often the notebook around is looked for. */
const ATTEMPTS = 60;

export class Kept extends Panel implements IRenderMime.IRenderer {
  constructor(options: IRenderMime.IRendererOptions) {
    super();
    this.sanitizer = options.sanitizer;
    this.addClass('dk-Kept');
    liveChanged.connect(this.onLive, this);
  }

  async renderModel(output: IRenderMime.IMimeModel): Promise<void> {
    const id = String((output.data[MIME_TYPE] as { model_id?: unknown } | undefined)?.model_id ?? '');
    const html = output.data['text/html'];
    this.output = output;
    this.html = Array.isArray(html) ? html.join('') : String(html ?? '');
    if (id !== this.name) {
      this.name = id;
      this.alive = false;
      this.empty();
    }
    if (liveOf(id)) {
      await this.showWidget();
      return;
    }
    if (this.still) {
      this.showStill();
    } else {
      window.clearTimeout(this.timer);
      this.timer = window.setTimeout(() => this.showStill(), PATIENCE_MS);
    }
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.boxed.disconnect();
    const cell = this.node.closest('.jp-Cell');
    if (cell) {
      this.boxed.observe(cell, { attributes: true, attributeFilter: ['class'] });
      this.unbox();
    }
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.boxed.disconnect();
      window.clearTimeout(this.timer);
      liveChanged.disconnect(this.onLive, this);
      this.forget();
      super.dispose();
    }
  }

  private unbox(): void {
    const cell = this.node.closest('.jp-Cell');
    if (cell?.classList.contains(BOXED)) {
      cell.classList.remove(BOXED); // only then: each removal is a change, which is observed
    }
  }

  private onLive(_: unknown, id: string): void {
    if (id === this.name) {
      void this.showWidget();
    }
  }

  private async showWidget(): Promise<void> {
    const live = liveOf(this.name);
    if (!live) {
      return;
    }
    this.write(live.html);
    if (this.alive) {
      return;
    }
    this.alive = true;
    window.clearTimeout(this.timer);
    const id = this.name;
    const view = await live.model.widget_manager.create_view(live.model);
    const { luminoWidget } = view as unknown as { luminoWidget: Widget };
    if (this.isDisposed || id !== this.name) {
      luminoWidget.dispose();
      return;
    }
    this.empty();
    this.addWidget(luminoWidget);
  }

  /** Have the notebook keep the present form. */
  private write(html: string): void {
    if (html && html !== this.html && this.output) {
      this.html = html;
      this.output.setData({ data: { ...this.output.data, 'text/html': html } });
    }
  }

  private showStill(): void {
    if (this.isDisposed || this.alive) {
      return;
    }
    this.empty();
    const bar = document.createElement('div');
    const content = document.createElement('div');
    content.innerHTML = this.sanitizer.sanitize(this.html);
    const node = document.createElement('div');
    node.append(bar, content);
    this.still = new Widget({ node });
    this.still.addClass('dk-Kept-still');
    this.addWidget(this.still);
    this.watch(run => showBar(bar, run), ATTEMPTS);
  }

  /** The notebook around may still be opening. */
  private watch(told: (run: (() => void) | null) => void, attempts: number): void {
    const ended = host().onKernel?.(this.node, told);
    const timer = ended || attempts === 0 ? 0 : window.setTimeout(() => this.watch(told, attempts - 1), PATIENCE_MS);
    this.forget = ended ?? (() => window.clearTimeout(timer));
  }

  private empty(): void {
    this.forget();
    this.forget = () => undefined;
    this.still = null;
    for (const widget of [...this.widgets]) {
      widget.dispose();
    }
  }

  /** Notebook 7 gives long outputs a box of a few lines that scrolls; tables and columns here scroll by themselves. */
  private readonly boxed = new MutationObserver(() => this.unbox());
  private readonly sanitizer: IRenderMime.ISanitizer;
  private output: IRenderMime.IMimeModel | null = null;
  private html = '';
  private name = '';
  private timer = 0;
  /** Whether the widget is shown, or about to be. */
  private alive = false;
  private still: Widget | null = null;
  private forget: () => void = () => undefined;
}

/** What can be done about it: running the cell, where there is a kernel. */
function showBar(bar: HTMLElement, run: (() => void) | null): void {
  bar.replaceChildren();
  bar.className = run
    ? `dk-Workbench dk-kept-bar ${document.body.dataset.jpThemeLight === 'false' ? 'dk-dark' : 'dk-light'}`
    : '';
  if (run) {
    const words = document.createElement('span');
    words.textContent = 'Saved results. Run the cell to continue: your choices are restored from the store.';
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'dk-button dk-button-primary';
    button.textContent = 'Run this cell';
    button.addEventListener('click', run);
    bar.append(words, button);
  }
}

export const kept: IRenderMime.IExtension = {
  id: 'deploykit-widgets:kept',
  description: 'Shows the Workbench in outputs, or its saved results when there is no kernel.',
  rendererFactory: { safe: true, mimeTypes: [MIME_TYPE], createRenderer: options => new Kept(options) },
  rank: -20, // before the HTML beside it
  dataType: 'json'
};
