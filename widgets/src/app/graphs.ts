/** Graphs of models, as JupyterLab shows them. */

import { graphFile } from '../paths';
import { host, type IPlace } from './host';

/** Why a graph cannot be opened. */
export const OUTSIDE = 'The file is outside the folder that JupyterLab shows. Start JupyterLab in a folder above it.';

/** The path that the graph of a file goes by; a SavedModel is given by its folder. */
export function graphPath(path: string, folder: boolean): string {
  return folder ? graphFile(path) : path;
}

/**
 * Open the graph of a file by its path on the server; of a SavedModel, of its folder. The Workbench stays in sight.
 *
 * @param title Of the tab: "A · int8 dynamic".
 * @param pair Beside the graph that was opened last, not in its place.
 */
export async function openGraph(path: string, folder: boolean, title: string, pair = false): Promise<void> {
  await host().openGraph?.(graphPath(path, folder), title, pair);
}

/** Title of a candidate's graph. */
export function graphTitle(letter: string, label: string): string {
  return `${letter} · ${label}`;
}

/** The path on the server of a file of the kernel's machine; null when it is not shown there. */
export async function located(place: IPlace): Promise<string | null> {
  return (await host().locate?.(place)) ?? null;
}
