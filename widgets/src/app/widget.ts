/** The ipywidget: its model holds what is shown, each of its views draws it. */

import { type DOMWidgetModel as BaseModel, DOMWidgetModel, DOMWidgetView } from '@jupyter-widgets/base';
import type { Kernel } from '@jupyterlab/services';
import { createElement } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { contain } from './contain';
import { isGone, isLive, keep } from './live';
import { type FromKernel, MODULE, PROTOCOL, type ToKernel } from './protocol';
import { Shell } from './shell';
import { Bench } from './store';

/** How long the kernel has to send everything by itself before it is asked: after a reload it does not. */
const PATIENCE_MS = 400;

/** Of these the manager of widgets tells nothing, or of the first one only when it was requested. */
const LOST: ReadonlySet<Kernel.Status> = new Set<Kernel.Status>([
  'restarting',
  'autorestarting',
  'terminating',
  'dead'
]);

export class WorkbenchModel extends DOMWidgetModel {
  // Only declared: a field would be made after the base class has called initialize, and undo it.
  declare bench: Bench;
  declare private kernel: Kernel.IKernelConnection | null;

  override defaults(): ReturnType<BaseModel['defaults']> {
    return {
      ...super.defaults(),
      _model_name: 'WorkbenchModel',
      _model_module: MODULE,
      _model_module_version: PROTOCOL,
      _view_name: 'WorkbenchView',
      _view_module: MODULE,
      _view_module_version: PROTOCOL,
      panels: []
    };
  }

  override initialize(...given: Parameters<BaseModel['initialize']>): void {
    super.initialize(...given);
    this.bench = new Bench((message: ToKernel) => this.send(message as never, {}));
    this.on('msg:custom', (message: FromKernel, buffers: DataView[]) => {
      if (message.type === 'kept') {
        keep(this.model_id, message.html);
      } else {
        this.bench.receive(message, buffers);
      }
    });
    this.on('comm_live_update', () => (this.comm_live ? undefined : this.bench.die()));
    this.kernel = (this.widget_manager as { kernel?: Kernel.IKernelConnection | null }).kernel ?? null;
    this.kernel?.statusChanged.connect(this.onStatus, this);
    this.kernel?.disposed.connect(this.onGone, this);
    if (this.comm_live) {
      isLive(this.model_id, this);
    } else {
      this.bench.die(); // it was saved with the notebook, whose cell has not been run
    }
    window.setTimeout(() => {
      if (this.comm_live && this.bench.store.getState().sections.app === undefined) {
        this.send({ type: 'hello' } as never, {});
      }
    }, PATIENCE_MS);
  }

  override close(commClosed = false): Promise<void> {
    isGone(this.model_id);
    this.kernel?.statusChanged.disconnect(this.onStatus, this);
    this.kernel?.disposed.disconnect(this.onGone, this);
    this.kernel = null;
    return super.close(commClosed);
  }

  get panels(): readonly string[] {
    return this.get('panels') as string[];
  }

  private onStatus(_: unknown, status: Kernel.Status): void {
    if (LOST.has(status)) {
      this.bench.die();
    }
  }

  private onGone(): void {
    this.bench.die();
  }
}

export class WorkbenchView extends DOMWidgetView {
  override render(): void {
    super.render();
    this.el.classList.add('dk-Workbench-host');
    const model = this.model as WorkbenchModel;
    this.root = createRoot(this.el);
    this.freed = contain(this.el);
    this.root.render(createElement(Shell, { bench: model.bench, model, panels: model.panels }));
  }

  override remove(): void {
    // Not at once: React may be drawing when a cell is run again.
    const { root } = this;
    this.root = null;
    this.freed?.();
    window.setTimeout(() => root?.unmount(), 0);
    super.remove();
  }

  private root: Root | null = null;
  private freed: (() => void) | null = null;
}
