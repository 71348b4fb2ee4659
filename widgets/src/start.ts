/** Notebooks from the template: launcher, palette, and the file browser's context menu. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, showErrorMessage } from '@jupyterlab/apputils';
import { URLExt } from '@jupyterlab/coreutils';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { type Contents, ServerConnection } from '@jupyterlab/services';
import type { PartialJSONValue } from '@lumino/coreutils';
import { workbenchIcon } from './icons';
import { folderOf, modelOf, nameOf, notebookName, storeFor } from './paths';
import { fill } from './template';
import { OPTIMIZE } from './tokens';

const WORKBENCH = 'deploykit:workbench';

/** What is needed of an opened notebook. */
interface IOpened {
  revealed?: Promise<void>;
  sessionContext?: { ready: Promise<void>; session?: { kernel?: unknown } | null };
}

async function fetchTemplate(app: JupyterFrontEnd): Promise<PartialJSONValue> {
  const settings = app.serviceManager.serverSettings;
  const url = URLExt.join(settings.baseUrl, 'deploykit/template');
  const response = await ServerConnection.makeRequest(url, {}, settings);
  if (!response.ok) {
    throw new ServerConnection.ResponseError(
      response,
      'The server has no deploykit extension. Install deploykit[jupyter] where JupyterLab runs, then restart it.'
    );
  }
  return response.json();
}

/** Write a new notebook beside the model, and open it. */
async function create(app: JupyterFrontEnd, folder: string, model: string): Promise<Contents.IModel> {
  const { contents } = app.serviceManager;
  const [template, listing] = await Promise.all([fetchTemplate(app), contents.get(folder)]);
  const taken = (listing.content as Contents.IModel[]).map(item => item.name);
  const values = { model_path: model ? nameOf(model) : '', store: storeFor(model) };
  const name = notebookName(model, taken);
  return contents.save(folder ? `${folder}/${name}` : name, {
    type: 'notebook',
    format: 'json',
    content: fill(template, values)
  });
}

async function open(app: JupyterFrontEnd, folder: string, model: string): Promise<unknown> {
  try {
    const notebook = await create(app, folder, model);
    const widget = (await app.commands.execute('docmanager:open', { path: notebook.path })) as IOpened | undefined;
    await widget?.revealed;
    await widget?.sessionContext?.ready;
    // Nothing in it is anybody else's, and what was asked for is the Workbench.
    if (widget?.sessionContext?.session?.kernel && app.commands.hasCommand('notebook:run-all-cells')) {
      await app.commands.execute('notebook:run-all-cells');
    }
    return widget;
  } catch (error) {
    await showErrorMessage('The notebook could not be created', error instanceof Error ? error : String(error));
    return null;
  }
}

function activate(
  app: JupyterFrontEnd,
  palette: ICommandPalette | null,
  launcher: ILauncher | null,
  browser: IFileBrowserFactory | null
): void {
  const { commands } = app;
  const chosen = (): string | null => {
    const items = [...(browser?.tracker.currentWidget?.selectedItems() ?? [])];
    return items.length === 1 && items[0] ? items[0].path : null;
  };
  const here = (): string => browser?.tracker.currentWidget?.model.path ?? '';

  commands.addCommand(OPTIMIZE, {
    label: 'Optimize with deploykit',
    caption: 'Create a notebook that opens this model in the Workbench',
    icon: args => (args.isPalette ? undefined : workbenchIcon),
    isEnabled: args => typeof args.path === 'string' || chosen() !== null,
    execute: args => {
      const path = typeof args.path === 'string' ? args.path : chosen();
      const model = modelOf(path ?? '');
      return path === null ? null : open(app, folderOf(model), model);
    }
  });
  commands.addCommand(WORKBENCH, {
    label: args => (args.isPalette ? 'New Workbench Notebook' : 'deploykit Workbench'),
    caption: 'Create a notebook that shows the Workbench',
    icon: args => (args.isPalette ? undefined : workbenchIcon),
    execute: args => open(app, typeof args.cwd === 'string' ? args.cwd : here(), '')
  });
  const category = 'deploykit';
  palette?.addItem({ command: WORKBENCH, category, args: { isPalette: true } });
  palette?.addItem({ command: OPTIMIZE, category, args: { isPalette: true } });
  // Tiles among the kernels show a picture by its address, and no icon.
  const kernelIconUrl = `data:image/svg+xml,${encodeURIComponent(workbenchIcon.svgstr)}`;
  launcher?.add({ command: WORKBENCH, category: 'Notebook', rank: 10, kernelIconUrl });
}

export const start: JupyterFrontEndPlugin<void> = {
  id: 'deploykit-widgets:start',
  description: 'Creates notebooks that open a model in the Workbench.',
  autoStart: true,
  optional: [ICommandPalette, ILauncher, IFileBrowserFactory],
  activate
};
