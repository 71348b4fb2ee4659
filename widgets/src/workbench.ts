/** The Workbench as an ipywidget: registers it, and lends it what JupyterLab and Notebook 7 can do. */

import { type DOMWidgetModel, IJupyterWidgetRegistry } from '@jupyter-widgets/base';
import { ILabShell, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { MainAreaWidget } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import type { ISignal } from '@lumino/signaling';
import { Panel, type Widget } from '@lumino/widgets';
import { type IHost, type IUpload, setHost } from './app/host';
import { MODULE, PROTOCOL } from './app/protocol';
import { hasGraph, undrawn } from './filetypes';
import { locate, upload } from './hostfiles';
import { workbenchIcon } from './icons';
import { OPEN_GRAPH } from './tokens';

/** What is needed of a notebook's panel; its package is not a dependency, for this alone. */
interface INotebookLike extends Widget {
  content: {
    widgets: readonly Widget[];
    activeCellIndex: number;
    deselectAll(): void;
    model: { sharedModel: { insertCell(index: number, cell: Record<string, unknown>): unknown } } | null;
  };
  context: {
    path: string;
    sessionContext: {
      session: { kernel: unknown } | null;
      statusChanged: ISignal<unknown, unknown>;
      kernelChanged: ISignal<unknown, unknown>;
    };
  };
}

function isNotebook(widget: Widget): widget is INotebookLike {
  const found = widget as unknown as Partial<INotebookLike>;
  return typeof found.content?.model?.sharedModel?.insertCell === 'function' && typeof found.context?.path === 'string';
}

function notebooks(app: JupyterFrontEnd): INotebookLike[] {
  return [...app.shell.widgets('main')].filter(isNotebook);
}

/** The notebook that shows an element, and the place of its cell. */
function cellOf(app: JupyterFrontEnd, inside: Element): { content: INotebookLike['content']; place: number } | null {
  const content = notebooks(app).find(widget => widget.node.contains(inside))?.content;
  const place = content?.widgets.findIndex(cell => cell.node.contains(inside)) ?? -1;
  return content && place >= 0 ? { content, place } : null;
}

function insertCell(app: JupyterFrontEnd, near: Element, code: string): boolean {
  const cell = cellOf(app, near);
  cell?.content.model?.sharedModel.insertCell(cell.place + 1, { cell_type: 'code', source: code.trimEnd() });
  return cell !== null;
}

function enter(app: JupyterFrontEnd, inside: Element): void {
  const cell = cellOf(app, inside);
  if (cell) {
    cell.content.deselectAll();
    cell.content.activeCellIndex = cell.place;
  }
}

/** See `IHost`. */
function onKernel(
  app: JupyterFrontEnd,
  inside: Element,
  told: (run: (() => void) | null) => void
): (() => void) | null {
  const panel = notebooks(app).find(widget => widget.node.contains(inside));
  if (!panel) {
    return null;
  }
  const { sessionContext } = panel.context;
  const run = async (): Promise<void> => {
    app.shell.activateById(panel.id);
    enter(app, inside);
    await app.commands.execute('notebook:run-cell');
  };
  let had: boolean | null = null;
  const look = (): void => {
    const has = Boolean(sessionContext.session?.kernel);
    if (has !== had) {
      had = has;
      told(has ? () => void run() : null);
    }
  };
  sessionContext.statusChanged.connect(look);
  sessionContext.kernelChanged.connect(look);
  look();
  return () => {
    sessionContext.statusChanged.disconnect(look);
    sessionContext.kernelChanged.disconnect(look);
  };
}

/** The tab of each model that has one. */
const tabs = new WeakMap<DOMWidgetModel, MainAreaWidget>();

async function openTab(app: JupyterFrontEnd, model: DOMWidgetModel, title: string): Promise<void> {
  const known = tabs.get(model);
  if (known && !known.isDisposed) {
    app.shell.activateById(known.id);
    return;
  }
  const view = await model.widget_manager.create_view(model);
  const content = new Panel(); // a view's widget lays itself out as in a cell
  content.addClass('dk-Workbench-tab');
  content.addWidget((view as unknown as { luminoWidget: Widget }).luminoWidget);
  const tab = new MainAreaWidget({ content });
  tab.title.label = title;
  tab.title.icon = workbenchIcon;
  tab.title.closable = true;
  tab.toolbar.hide();
  tabs.set(model, tab);
  app.shell.add(tab, 'main', { mode: 'tab-after' });
  app.shell.activateById(tab.id);
}

/** Put files into the kernel's folder; beside the notebook in front where that folder is not known. */
async function uploadFor(app: JupyterFrontEnd, given: IUpload): Promise<string> {
  const { contents } = app.serviceManager;
  const panel = notebooks(app).find(widget => widget.isVisible) ?? notebooks(app)[0];
  const beside = panel ? PathExt.dirname(panel.context.path) : '';
  return upload(contents, (await locate(contents, given.to)) ?? beside, given);
}

function hostOf(app: JupyterFrontEnd, shell: ILabShell | null): IHost {
  return {
    openTab: shell ? (model, title) => openTab(app, model, title) : null,
    insertCell: (near, code) => insertCell(app, near, code),
    enter: inside => enter(app, inside),
    onKernel: (inside, told) => onKernel(app, inside, told),
    openFile: shell
      ? async path => {
          await app.commands.execute('docmanager:open', { path });
        }
      : null,
    undrawn: path => (hasGraph(path) ? '' : undrawn(path)),
    openGraph: shell
      ? async (path, title, pair) => void (await app.commands.execute(OPEN_GRAPH, { path, title, pair }))
      : null,
    upload: given => uploadFor(app, given),
    locate: place => locate(app.serviceManager.contents, place)
  };
}

export const workbench: JupyterFrontEndPlugin<void> = {
  id: 'deploykit-widgets:workbench',
  description: 'Shows the Workbench in notebooks.',
  autoStart: true,
  requires: [IJupyterWidgetRegistry],
  optional: [ILabShell],
  activate: (app: JupyterFrontEnd, registry: IJupyterWidgetRegistry, shell: ILabShell | null) => {
    setHost(hostOf(app, shell));
    registry.registerWidget({
      name: MODULE,
      version: PROTOCOL,
      exports: async () => {
        const { WorkbenchModel, WorkbenchView } = await import('./app/widget');
        return { WorkbenchModel, WorkbenchView };
      }
    });
  }
};
