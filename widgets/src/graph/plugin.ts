/** Models as graphs: file types, the document factory, and the link between layers and the Workbench. */

import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, IThemeManager, showDialog, ToolbarButton, WidgetTracker } from '@jupyterlab/apputils';
import { URLExt } from '@jupyterlab/coreutils';
import {
  ABCWidgetFactory,
  Base64ModelFactory,
  DocumentModel,
  type DocumentRegistry,
  DocumentWidget
} from '@jupyterlab/docregistry';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { type Contents, ServerConnection } from '@jupyterlab/services';
import { ReactiveToolbar } from '@jupyterlab/ui-components';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';
import { isModel, modelFiles } from '../filetypes';
import { graphIcon, workbenchIcon } from '../icons';
import { graphFile, matchOpen, modelOf, nameOf } from '../paths';
import {
  GRAPH_FACTORY,
  type ILayerSelection,
  ILayers,
  OPEN_GRAPH,
  OPTIMIZE,
  SELECTED_EVENT,
  SHOW_EVENT,
  SHOW_LAYER
} from '../tokens';
import { GraphPanel } from './panel';

/** A graph whose tab says what it is of: "A · int8 dynamic". */
class GraphDocument extends DocumentWidget<GraphPanel> {
  constructor(options: DocumentWidget.IOptions<GraphPanel, DocumentRegistry.IModel>) {
    super(options);
    // Or another title would rename the file.
    Signal.disconnectBetween(this.title, this);
  }

  /** What was asked for, to be shown again when the page is loaded again; empty for the file's name. */
  label = '';

  name(label: string): void {
    if (label) {
      this.label = label;
      this.title.label = label;
    }
  }
}

/**
 * What JupyterLab takes for saved elsewhere: or it would copy each model into a checkpoint when it is opened, and write
 * the content that was never read over the model's when all documents are saved.
 */
class UnreadModel extends DocumentModel {
  override get collaborative(): boolean {
    return true;
  }

  override get readOnly(): boolean {
    return true;
  }
}

/** Files whose content is not fetched: the frame reads it, once and not as base64. */
class UnreadFactory extends Base64ModelFactory {
  override get name(): string {
    return 'deploykit-unread';
  }

  override get fileFormat(): Contents.FileFormat {
    return null;
  }

  override createNew(options: Parameters<Base64ModelFactory['createNew']>[0] = {}): DocumentRegistry.ICodeModel {
    return new UnreadModel(options);
  }
}

const RESTORE = 'deploykit:restore-graph';

class GraphFactory extends ABCWidgetFactory<GraphDocument> {
  constructor(
    options: DocumentRegistry.IWidgetFactoryOptions<GraphDocument>,
    private readonly app: JupyterFrontEnd,
    private readonly dark: () => boolean
  ) {
    super(options);
  }

  protected createNewWidget(context: DocumentRegistry.Context): GraphDocument {
    const path = this.app.serviceManager.contents.localPath(context.path);
    const widget = new GraphDocument({ context, content: new GraphPanel(context, path, this.dark, this.read) });
    context.save = () => Promise.resolve(); // "Save All" asks every document
    const optimize = new ToolbarButton({
      label: 'Optimize with deploykit',
      icon: workbenchIcon,
      className: 'dk-Graph-optimize',
      tooltip: 'Create a notebook that opens this model in the Workbench',
      onClick: () => void this.app.commands.execute(OPTIMIZE, { path: modelOf(context.path) })
    });
    widget.title.icon = graphIcon;
    // All SavedModels have the same file name, which is the usual title.
    const place = new Widget();
    place.addClass('dk-Graph-place');
    place.node.textContent = modelOf(path);
    widget.toolbar.addItem('place', place);
    widget.toolbar.addItem('spacer', ReactiveToolbar.createSpacerItem());
    if (isModel(path)) {
      widget.toolbar.addItem('optimize', optimize);
    }
    return widget;
  }

  /** A file as the server gives it out, with its own checks. */
  private readonly read = async (path: string): Promise<ArrayBuffer> => {
    const settings = this.app.serviceManager.serverSettings;
    const url = URLExt.join(settings.baseUrl, 'files', URLExt.encodeParts(path));
    const response = await ServerConnection.makeRequest(url, {}, settings);
    if (!response.ok) {
      throw new Error(`The server answered with status ${response.status} for ${path}.`);
    }
    return response.arrayBuffer();
  };
}

class Layers implements ILayers {
  readonly selected: Signal<ILayers, ILayerSelection> = new Signal<ILayers, ILayerSelection>(this);

  constructor(
    private readonly tracker: WidgetTracker<GraphDocument>,
    private readonly open: (path: string) => Promise<GraphDocument | null>,
    private readonly reveal: (graph: GraphDocument) => void
  ) {}

  async show(layer: string, path = ''): Promise<boolean> {
    const graph = path ? await this.find(path) : this.tracker.currentWidget;
    if (graph) {
      this.reveal(graph);
      graph.content.showLayer(layer);
    }
    return Boolean(graph);
  }

  private async find(path: string): Promise<GraphDocument | null> {
    const open: GraphDocument[] = [];
    this.tracker.forEach(widget => {
      open.push(widget);
    });
    const match = matchOpen(
      path,
      open.map(widget => widget.context.localPath)
    );
    return open.find(widget => widget.context.localPath === match) ?? (await this.open(path));
  }
}

async function activate(
  app: JupyterFrontEnd,
  restorer: ILayoutRestorer | null,
  themes: IThemeManager | null,
  browser: IFileBrowserFactory | null
): Promise<ILayers> {
  const { commands, docRegistry, serviceManager } = app;
  const dark = (): boolean => document.body.dataset.jpThemeLight === 'false';
  const { types } = modelFiles();
  for (const { name, label, extensions, hasGraph: drawn } of types) {
    docRegistry.addFileType({
      name,
      displayName: label,
      extensions,
      mimeTypes: ['application/octet-stream'],
      contentType: 'file',
      fileFormat: 'base64',
      icon: drawn ? graphIcon : workbenchIcon
    });
  }
  docRegistry.addModelFactory(new UnreadFactory());
  const factory = new GraphFactory(
    {
      name: GRAPH_FACTORY,
      label: GRAPH_FACTORY,
      modelName: 'deploykit-unread',
      fileTypes: types.filter(type => type.hasGraph).map(type => type.name),
      defaultFor: types.filter(type => type.isDefault).map(type => type.name),
      readOnly: true
    },
    app,
    dark
  );
  docRegistry.addWidgetFactory(factory);

  const tracker = new WidgetTracker<GraphDocument>({ namespace: 'deploykit-graph' });
  /** Where the next graph goes: beside what asks for it, which stays in sight, or among the graphs that are there. */
  const place = (pair: boolean): { mode: string; ref?: string } => {
    const seen: GraphDocument[] = [];
    tracker.forEach(widget => {
      if (widget.isVisible) {
        seen.push(widget);
      }
    });
    const last = seen.at(-1);
    return last
      ? { mode: pair && seen.length === 1 ? 'split-right' : 'tab-after', ref: last.id }
      : { mode: 'split-right' };
  };
  const openGraph = async (path: string, title = '', pair = false): Promise<GraphDocument | null> => {
    try {
      const model = await serviceManager.contents.get(path, { content: false });
      const file = model.type === 'directory' ? graphFile(path) : path;
      const args = { path: file, factory: GRAPH_FACTORY, options: place(pair) };
      const widget = (await commands.execute('docmanager:open', args)) as GraphDocument | undefined;
      widget?.name(title);
      return widget ?? null;
    } catch {
      return null;
    }
  };
  commands.addCommand(OPEN_GRAPH, {
    label: 'Open a Graph Beside This',
    execute: args => openGraph(String(args.path ?? ''), String(args.title ?? ''), args.pair === true)
  });
  const layers = new Layers(tracker, openGraph, widget => {
    if (!widget.isVisible) {
      app.shell.activateById(widget.id);
    }
  });
  factory.widgetCreated.connect((_, widget) => {
    void tracker.add(widget);
    widget.content.selected.connect((_, selection) => {
      layers.selected.emit(selection);
      window.dispatchEvent(new CustomEvent(SELECTED_EVENT, { detail: selection }));
    });
  });
  themes?.themeChanged.connect(() => {
    tracker.forEach(widget => {
      widget.content.setDark(dark());
    });
  });
  commands.addCommand(RESTORE, {
    execute: async ({ path, title }) => {
      const widget = (await commands.execute('docmanager:open', { path, factory: GRAPH_FACTORY })) as GraphDocument;
      widget?.name(String(title ?? ''));
      return widget;
    }
  });
  if (restorer) {
    void restorer.restore(tracker, {
      command: RESTORE,
      args: widget => ({ path: widget.context.path, title: widget.label }),
      name: widget => widget.context.path
    });
  }

  commands.addCommand(SHOW_LAYER, {
    label: 'Show a Layer in Its Graph',
    execute: args => layers.show(String(args.layer ?? ''), String(args.path ?? ''))
  });
  window.addEventListener(SHOW_EVENT, event => {
    const { layer, path } = ((event as CustomEvent).detail ?? {}) as { layer?: unknown; path?: unknown };
    if (typeof layer === 'string') {
      void layers.show(layer, typeof path === 'string' ? path : '');
    }
  });
  addFolderCommand(app, browser);
  return layers;
}

/** "Open With" of a folder: JupyterLab's own is for files only. */
function addFolderCommand(app: JupyterFrontEnd, browser: IFileBrowserFactory | null): void {
  const { commands, serviceManager } = app;
  const folder = (): string | null => {
    const items = [...(browser?.tracker.currentWidget?.selectedItems() ?? [])];
    return items.length === 1 && items[0]?.type === 'directory' ? items[0].path : null;
  };
  commands.addCommand('deploykit:open-folder', {
    label: GRAPH_FACTORY,
    caption: 'Show the graph of a SavedModel folder',
    icon: graphIcon,
    isVisible: () => folder() !== null,
    execute: async () => {
      const path = folder();
      if (path === null) {
        return null;
      }
      const found = await serviceManager.contents.get(path);
      if (!found.content.some((item: Contents.IModel) => item.name === 'saved_model.pb')) {
        await showDialog({
          title: `${nameOf(path)} is not a SavedModel`,
          body: 'The folder does not contain saved_model.pb. Choose the folder that does, or a model file.',
          buttons: [Dialog.okButton()]
        });
        return null;
      }
      return commands.execute('docmanager:open', { path: graphFile(path), factory: GRAPH_FACTORY });
    }
  });
}

export const graph: JupyterFrontEndPlugin<ILayers> = {
  id: 'deploykit-widgets:graph',
  description: 'Shows models as graphs.',
  autoStart: true,
  provides: ILayers,
  optional: [ILayoutRestorer, IThemeManager, IFileBrowserFactory],
  activate
};
