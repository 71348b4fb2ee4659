/** What the Workbench asks of the application around it: JupyterLab, Notebook 7, or nothing at all. */

import type { DOMWidgetModel } from '@jupyter-widgets/base';

/** A file or folder on the kernel's machine. */
export interface IPlace {
  /** Absolute path. */
  path: string;
  /** The home folder there. */
  home: string;
  /** Its size, null when it is not known. */
  bytes: number | null;
}

/** Files to be put where the kernel finds them by their names. */
export interface IUpload {
  /** The model, and what lies beside it. */
  files: readonly File[];
  /** The kernel's working folder. */
  to: IPlace;
  /** Called with the share that has arrived. */
  onShare?: (share: number) => void;
}

export interface IHost {
  /** Show the widget in a tab of its own; null where there are no tabs. */
  openTab: ((model: DOMWidgetModel, title: string) => Promise<void>) | null;
  /**
   * Insert a code cell below the one that holds an element.
   *
   * @returns Whether there is such a cell.
   */
  insertCell: ((near: Element, code: string) => boolean) | null;
  /** Make the cell that holds an element the active one, and the only one that is selected. */
  enter: ((inside: Element) => void) | null;
  /**
   * Watch the kernel of the notebook that holds an element.
   *
   * @param told Called now and with each change: what runs the element's cell, null while there is no kernel.
   * @returns What ends it; null when the element is in no notebook.
   */
  onKernel: ((inside: Element, told: (run: (() => void) | null) => void) => (() => void) | null) | null;
  /** Open a file by its path on the server; null where that is not possible. */
  openFile: ((path: string) => Promise<void>) | null;
  /** Why a file has no graph; empty when it has one. */
  undrawn: (path: string) => string;
  /** Open a graph beside the Workbench, under a title; the second of a pair stands beside the first. */
  openGraph: ((path: string, title: string, pair: boolean) => Promise<void>) | null;
  /** Upload files into the kernel's working folder and return the first one's path there; never writes over others. */
  upload: ((given: IUpload) => Promise<string>) | null;
  /** The path `openFile` takes for a file of the kernel's machine; null when the server does not show it. */
  locate: ((place: IPlace) => Promise<string | null>) | null;
}

const NOBODY: IHost = {
  openTab: null,
  insertCell: null,
  enter: null,
  onKernel: null,
  openFile: null,
  undrawn: () => '',
  openGraph: null,
  upload: null,
  locate: null
};
let present: IHost = NOBODY;

export function setHost(host: IHost): void {
  present = host;
}

export function host(): IHost {
  return present;
}
