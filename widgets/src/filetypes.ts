/** The files that are models, and those that can be seen as graphs: as the server declares them (server/file_types.py). */

import { PageConfig } from '@jupyterlab/coreutils';

export interface IModelType {
  /** Name of the file type in JupyterLab. */
  name: string;
  label: string;
  extensions: string[];
  hasGraph: boolean;
  /** Whether a double click opens the graph. Files that other tools open as well are under "Open With" only. */
  isDefault: boolean;
  /** Whether it is the file that a model is given by, not one that lies beside it. */
  isModel: boolean;
}

export interface IModelFiles {
  /** Endings of all files that have a graph. */
  drawn: string[];
  types: IModelType[];
}

/** What the server declares; nothing where it has no deploykit extension. */
export function modelFiles(): IModelFiles {
  const given = PageConfig.getOption('deploykitFiles');
  return given ? (JSON.parse(given) as IModelFiles) : { drawn: [], types: [] };
}

/** Whether a file has a graph, by its name. */
export function hasGraph(path: string, { drawn }: IModelFiles = modelFiles()): boolean {
  const name = path.toLowerCase();
  return drawn.some(ending => name.endsWith(ending));
}

/** Whether a model is given by this file, by its name. */
export function isModel(path: string, { types }: IModelFiles = modelFiles()): boolean {
  const name = path.toLowerCase();
  return types.some(type => type.isModel && type.extensions.some(ending => name.endsWith(ending)));
}

/** Why a file has no graph, in words. */
export function undrawn(path: string, { drawn }: IModelFiles = modelFiles()): string {
  const name = path.split('/').pop() ?? path;
  if (drawn.length === 0) {
    const remedy = 'Install deploykit[jupyter] where JupyterLab runs, then restart it.';
    return `${name} has no graph: the server has no deploykit extension, or an older one. ${remedy}`;
  }
  const ending = name.includes('.') ? `${name.slice(name.lastIndexOf('.'))} files` : 'files like this one';
  return `${name} has no graph: Netron, which draws the graphs, does not read ${ending}.`;
}
