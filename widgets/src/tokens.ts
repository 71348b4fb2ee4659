/** What other extensions can use. */

import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';

/** A layer that was selected in a graph. */
export interface ILayerSelection {
  /** The model's path, as the contents manager names it. */
  path: string;
  /** The layer's name in its format; text from outside: show it as text only. */
  layer: string;
  /** All names it is known by, `layer` first. */
  names: string[];
  /** For example `Conv`. */
  operator: string;
}

export interface ILayers {
  /** Emitted when a layer is selected in any open graph. */
  readonly selected: ISignal<ILayers, ILayerSelection>;
  /**
   * Show a layer in its graph; opens the graph when a contents path is given that is not open.
   *
   * @param layer Any of its names.
   * @param path The model; without it the graph that was used last.
   * @returns Whether there is such a graph.
   */
  show(layer: string, path?: string): Promise<boolean>;
}

export const ILayers = new Token<ILayers>(
  'deploykit-widgets:ILayers',
  'Layers selected in the graphs of models, and showing one there.'
);

/** Name of the factory of graphs, as "Open With" shows it. */
export const GRAPH_FACTORY = 'Graph (deploykit)';

/** Event of `window`: a layer was selected in a graph; its detail is an `ILayerSelection`. */
export const SELECTED_EVENT = 'deploykit-layer-selected';
/** Event of `window` that asks to show a layer; its detail is `{layer, path?}`. Widgets of notebooks dispatch it. */
export const SHOW_EVENT = 'deploykit-show-layer';

/** Command: show a layer in its graph; takes `{layer, path?}`. */
export const SHOW_LAYER = 'deploykit:show-layer';
/** Command: open the graph of `{path, title?, pair?}` beside what asks for it; a pair stands side by side. */
export const OPEN_GRAPH = 'deploykit:open-graph';
/** Command: make a notebook for a model; takes `{path}`, a contents path, or what is selected in the file browser. */
export const OPTIMIZE = 'deploykit:optimize';
