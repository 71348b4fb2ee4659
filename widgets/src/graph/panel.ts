/** A model's graph: Netron in a sandboxed frame, and the messages to and from it. */

import { PageConfig, URLExt } from '@jupyterlab/coreutils';
import type { DocumentRegistry } from '@jupyterlab/docregistry';
import type { Contents } from '@jupyterlab/services';
import type { Message } from '@lumino/messaging';
import { type ISignal, Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';
import { hasGraph, undrawn } from '../filetypes';
import { besideModel } from '../paths';
import type { ILayerSelection } from '../tokens';
import { type FromGraph, GRAPH_ORIGIN, type IFile, type INoFile, parse, SANDBOX, type ToGraph, wrap } from './messages';

/** Why a file has no graph, in our words; Netron's are at the end, for those who want to know. */
export function unreadable(path: string, reason: string): string {
  const name = path.split('/').pop() ?? path;
  const details = reason.replace(/\s+in '[^']*'\.?$/, '').replace(/\.$/, '');
  const said = `${name} cannot be shown as a graph: it is damaged, incomplete, or not in the format its extension suggests.`;
  return `${said} Copy it again, or open another file. (${details})`;
}

export class GraphPanel extends Widget {
  /**
   * @param context The model's file; its content is never read here.
   * @param path Its path on the server, without the name of a drive.
   * @param dark Whether the theme is dark, asked whenever the page is loaded.
   * @param read Reads a file of the server.
   */
  constructor(
    private readonly context: DocumentRegistry.Context,
    private readonly path: string,
    private readonly dark: () => boolean,
    private readonly read: (path: string) => Promise<ArrayBuffer>
  ) {
    super();
    this.addClass('dk-Graph');
    this.notice.className = 'dk-Graph-notice';
    this.notice.setAttribute('role', 'status');
    this.frame.title = `Graph of ${path}`;
    this.frame.setAttribute('sandbox', SANDBOX);
    this.node.append(this.notice, this.frame);
    window.addEventListener('message', this.onMessage);
    context.fileChanged.connect(this.onFileChanged, this);
  }

  /** A layer was selected in the graph. */
  get selected(): ISignal<this, ILayerSelection> {
    return this.selection;
  }

  /** Show a layer, at once or as soon as the graph is drawn. */
  showLayer(layer: string): void {
    this.wanted = layer;
    if (this.connected) {
      this.tell({ type: 'show', layer });
    }
  }

  /** Follow the theme. */
  setDark(dark: boolean): void {
    this.tell({ type: 'theme', dark });
  }

  override dispose(): void {
    if (this.isDisposed) {
      return;
    }
    window.removeEventListener('message', this.onMessage);
    this.context.fileChanged.disconnect(this.onFileChanged, this);
    Signal.clearData(this);
    super.dispose();
  }

  /** Load when it is seen: a graph cannot be laid out while it is hidden. */
  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.load();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) {
      this.load();
    }
  }

  protected override onActivateRequest(): void {
    this.frame.focus();
  }

  private load(): void {
    if (!this.frame.hasAttribute('src')) {
      this.reload();
    }
  }

  private reload(): void {
    this.connected = false;
    this.notice.textContent = '';
    this.frame.hidden = !hasGraph(this.path);
    if (this.frame.hidden) {
      this.notice.textContent = undrawn(this.path);
      return;
    }
    const page = URLExt.join(PageConfig.getBaseUrl(), 'deploykit/netron/');
    const query = URLExt.objectToQueryString({ path: this.path, theme: this.dark() ? 'dark' : 'light' });
    this.frame.src = page + query;
  }

  /** Say in place of the graph that there is none, and what to do. */
  private fail(reason: string): void {
    const again = document.createElement('button');
    again.className = 'jp-Button jp-mod-styled jp-mod-minimal';
    again.textContent = 'Try again';
    again.addEventListener('click', () => this.reload());
    const words = document.createElement('span');
    words.textContent = unreadable(this.path, reason);
    this.notice.replaceChildren(words, again);
    this.frame.hidden = true;
  }

  private tell(message: ToGraph): void {
    this.frame.contentWindow?.postMessage(wrap(message), '*'); // a sandbox has no origin to name
  }

  /** The file was rewritten: JupyterLab says so on the first reading too. */
  private onFileChanged(_: unknown, model: Omit<Contents.IModel, 'content'>): void {
    const known = this.modified;
    this.modified = model.last_modified;
    if (known !== '' && known !== this.modified && this.frame.hasAttribute('src')) {
      this.reload();
    }
  }

  private readonly onMessage = (event: MessageEvent): void => {
    if (event.source !== this.frame.contentWindow || event.origin !== GRAPH_ORIGIN) {
      return;
    }
    const message = parse(event.data);
    if (message?.type === 'read') {
      void this.give(message.name, event.ports[0]);
    } else if (message) {
      this.handle(message);
    }
  };

  /** Give the page the model's file or one beside it, and no other: what a model names must not become a way out. */
  private async give(name: string, port: MessagePort | undefined): Promise<void> {
    try {
      const path = besideModel(this.path, name);
      if (path === null) {
        throw new Error(`${name} is not in the folder of the model.`);
      }
      const found: IFile = { bytes: await this.read(path) };
      port?.postMessage(found, [found.bytes]);
    } catch (error) {
      const none: INoFile = { reason: error instanceof Error ? error.message : String(error) };
      port?.postMessage(none);
    }
  }

  private handle(message: Exclude<FromGraph, { type: 'read' }>): void {
    switch (message.type) {
      case 'ready':
        this.connected = true;
        this.notice.textContent = '';
        if (this.wanted !== null) {
          this.tell({ type: 'show', layer: this.wanted });
        }
        break;
      case 'selected':
        this.wanted = null;
        this.notice.textContent = '';
        this.selection.emit({
          path: this.path,
          layer: message.layer,
          names: message.names,
          operator: message.operator
        });
        break;
      case 'missing':
        this.wanted = null;
        this.notice.textContent = `This graph does not have a layer named ${message.layer}.`;
        break;
      case 'broken':
        this.notice.textContent = message.message;
        break;
      case 'failed':
        this.fail(message.message);
        break;
    }
  }

  private readonly frame = document.createElement('iframe');
  private readonly notice = document.createElement('div');
  private readonly selection = new Signal<this, ILayerSelection>(this);
  private connected = false;
  private modified = '';
  private wanted: string | null = null;
}
