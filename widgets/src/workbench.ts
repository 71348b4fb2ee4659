/** The Workbench as an ipywidget: registers it, and lends it what JupyterLab and Notebook 7 can do. */

import { type DOMWidgetModel, IJupyterWidgetRegistry } from '@jupyter-widgets/base';
import { ILabShell, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { MainAreaWidget } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { Panel, type Widget } from '@lumino/widgets';
import { type IHost, setHost } from './app/host';
import { MODULE, PROTOCOL } from './app/protocol';
import { workbenchIcon } from './icons';

/** What is needed of a notebook's panel; its package is not a dependency, for this alone. */
interface INotebookLike extends Widget {
  content: {
    widgets: readonly Widget[];
    model: { sharedModel: { insertCell(index: number, cell: Record<string, unknown>): unknown } } | null;
  };
  context: { path: string };
}

function isNotebook(widget: Widget): widget is INotebookLike {
  const found = widget as unknown as Partial<INotebookLike>;
  return typeof found.content?.model?.sharedModel?.insertCell === 'function' && typeof found.context?.path === 'string';
}

function notebooks(app: JupyterFrontEnd): INotebookLike[] {
  return [...app.shell.widgets('main')].filter(isNotebook);
}

function insertCell(app: JupyterFrontEnd, near: Element, code: string): boolean {
  const panel = notebooks(app).find(widget => widget.node.contains(near));
  const place = panel?.content.widgets.findIndex(cell => cell.node.contains(near)) ?? -1;
  if (place < 0) {
    return false;
  }
  panel?.content.model?.sharedModel.insertCell(place + 1, { cell_type: 'code', source: code.trimEnd() });
  return true;
}

async function openTab(app: JupyterFrontEnd, model: DOMWidgetModel, title: string): Promise<void> {
  const view = await model.widget_manager.create_view(model);
  const content = new Panel(); // a view's widget lays itself out as in a cell
  content.addClass('dk-Workbench-tab');
  content.addWidget((view as unknown as { luminoWidget: Widget }).luminoWidget);
  const tab = new MainAreaWidget({ content });
  tab.title.label = title;
  tab.title.icon = workbenchIcon;
  tab.title.closable = true;
  tab.toolbar.hide();
  app.shell.add(tab, 'main', { mode: 'tab-after' });
  app.shell.activateById(tab.id);
}

/** Put a file beside the notebook in front, so that the kernel finds it by its name. */
async function upload(app: JupyterFrontEnd, file: File): Promise<string> {
  const panel = notebooks(app).find(widget => widget.isVisible) ?? notebooks(app)[0];
  const folder = panel ? PathExt.dirname(panel.context.path) : '';
  const data = await new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).replace(/^[^,]*,/, ''));
    reader.onerror = () => reject(reader.error ?? new Error('the file cannot be read'));
    reader.readAsDataURL(file);
  });
  const path = folder ? `${folder}/${file.name}` : file.name;
  await app.serviceManager.contents.save(path, { type: 'file', format: 'base64', content: data });
  return file.name;
}

function hostOf(app: JupyterFrontEnd, shell: ILabShell | null): IHost {
  return {
    openTab: shell ? (model, title) => openTab(app, model, title) : null,
    insertCell: (near, code) => insertCell(app, near, code),
    openFile: shell
      ? async (path, factory, beside = false) => {
          const options = beside ? { mode: 'split-right' } : {};
          await app.commands.execute('docmanager:open', { path, ...(factory ? { factory } : {}), options });
        }
      : null,
    upload: file => upload(app, file),
    folder: near => {
      const all = notebooks(app);
      const panel = all.find(widget => widget.node.contains(near)) ?? all.find(widget => widget.isVisible) ?? all[0];
      return panel ? PathExt.dirname(panel.context.path) : null;
    }
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
