/** Graphs that are open side by side move and zoom together, unless their toolbar says otherwise. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ToolbarButton } from '@jupyterlab/apputils';
import type { DocumentRegistry, IDocumentWidget } from '@jupyterlab/docregistry';
import { GRAPH_FACTORY } from '../tokens';
import { GraphLink, type ILinked } from './views';

export const graphlink: JupyterFrontEndPlugin<void> = {
  id: 'deploykit-widgets:graphlink',
  description: 'Moves and zooms graphs together.',
  autoStart: true,
  activate: (app: JupyterFrontEnd) => {
    const link = new GraphLink();
    window.addEventListener('message', link.onMessage);
    app.docRegistry.addWidgetExtension(GRAPH_FACTORY, {
      createNew: (widget: IDocumentWidget, _context: DocumentRegistry.Context) => {
        const graph: ILinked = {
          frame: () => widget.node.querySelector('iframe'),
          isVisible: () => widget.isVisible,
          linked: true
        };
        const button = new ToolbarButton({
          label: 'Move together',
          className: 'dk-Graph-link',
          tooltip: 'Other visible graphs move and zoom with this one. Click to move this one alone.',
          pressedTooltip: 'Other visible graphs move and zoom with this one. Click to move this one alone.',
          pressed: true,
          onClick: () => {
            graph.linked = !graph.linked;
            button.pressed = graph.linked;
          }
        });
        widget.toolbar.insertItem(1, 'link', button);
        const remove = link.add(graph);
        return {
          get isDisposed(): boolean {
            return button.isDisposed;
          },
          dispose: (): void => {
            remove();
            button.dispose();
          }
        };
      }
    });
  }
};
