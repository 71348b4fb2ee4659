/** Graphs of models, as JupyterLab shows them. */

import { graphFile } from '../paths';
import { GRAPH_FACTORY } from '../tokens';
import { host, type IPlace } from './host';

/** Why a graph cannot be opened. */
export const OUTSIDE =
  'The file is outside of the folder that JupyterLab shows. Start JupyterLab in a folder above it.';

/** The path that the graph of a file goes by; a SavedModel is given by its folder. */
export function graphPath(path: string, folder: boolean): string {
  return folder ? graphFile(path) : path;
}

/**
 * Open the graph of a file by its path on the server; of a SavedModel, of its folder.
 *
 * @param beside Beside what is open, not in place of it.
 */
export async function openGraph(path: string, folder: boolean, beside = false): Promise<void> {
  await host().openFile?.(graphPath(path, folder), GRAPH_FACTORY, beside);
}

/** The path on the server of a file of the kernel's machine; null when it is not shown there. */
export async function located(place: IPlace): Promise<string | null> {
  return (await host().locate?.(place)) ?? null;
}
