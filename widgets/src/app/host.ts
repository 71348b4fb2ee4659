/** What the Workbench asks of the application around it: JupyterLab, Notebook 7, or nothing at all. */

import type { DOMWidgetModel } from '@jupyter-widgets/base';

export interface IHost {
  /** Show the widget in a tab of its own; null where there are no tabs. */
  openTab: ((model: DOMWidgetModel, title: string) => Promise<void>) | null;
  /**
   * Insert a code cell below the one that holds an element.
   *
   * @returns Whether there is such a cell.
   */
  insertCell: ((near: Element, code: string) => boolean) | null;
  /** Open a file by its path on the server; null where that is not possible. */
  openFile: ((path: string, factory?: string, beside?: boolean) => Promise<void>) | null;
  /** Upload a file into a folder of the server and return its path there. */
  upload: ((file: File) => Promise<string>) | null;
  /** Folder of the notebook that holds an element, or of the one in front, as the contents manager names it. */
  folder: ((near: Element) => string | null) | null;
}

const NOBODY: IHost = { openTab: null, insertCell: null, openFile: null, upload: null, folder: null };
let present: IHost = NOBODY;

export function setHost(host: IHost): void {
  present = host;
}

export function host(): IHost {
  return present;
}
