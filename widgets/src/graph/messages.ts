/** What a graph's page and JupyterLab tell each other. */

/** From the page: a layer was selected. */
export interface ISelected {
  type: 'selected';
  /** The name the format gives the layer; text from outside. */
  layer: string;
  /** All names it is known by, `layer` first: its outputs, and its operator with its place. */
  names: string[];
  operator: string;
}

/** From the page: the graph is drawn. */
export interface IReady {
  type: 'ready';
  layers: number;
}

/** From the page: there is no layer of the name that was asked for. */
export interface IMissing {
  type: 'missing';
  layer: string;
}

/** From the page: Netron is not the one the bridge was written for. */
export interface IBroken {
  type: 'broken';
  message: string;
}

/** From the page: the file cannot be drawn. */
export interface IFailed {
  type: 'failed';
  /** In Netron's words. */
  message: string;
}

/**
 * From the page: it needs the model's file, or one beside it. The message brings a port, which takes the answer: an
 * `IFile`, or an `INoFile`.
 */
export interface IRead {
  type: 'read';
  /** Relative to the model's folder; text from outside. */
  name: string;
}

/** The answer to `IRead`. */
export interface IFile {
  bytes: ArrayBuffer;
}

/** The answer to `IRead` if there is no such file. */
export interface INoFile {
  reason: string;
}

export type FromGraph = ISelected | IReady | IMissing | IBroken | IFailed | IRead;

/** To the page: show a layer, or take a theme. */
export type ToGraph = { type: 'show'; layer: string } | { type: 'theme'; dark: boolean };

/** Origin of a graph's page: it runs in a sandbox, so it has none. Who sent a message is known by its window. */
export const GRAPH_ORIGIN = 'null';

/** What a graph's page may do. Not in it: `allow-same-origin`, with which it could do what JupyterLab may. */
export const SANDBOX = 'allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads';

/** A message of a graph's page, or null when it is none or not in its form. */
export function parse(data: unknown): FromGraph | null {
  const message = data as Partial<Record<string, unknown>> | null;
  if (typeof message !== 'object' || message === null || message.source !== 'deploykit-graph') {
    return null;
  }
  const { type, layer, names, operator, layers, name, message: text } = message;
  if (type === 'selected' && isText(layer) && isText(operator) && Array.isArray(names) && names.every(isText)) {
    return { type, layer, names, operator };
  }
  if (type === 'ready' && typeof layers === 'number') {
    return { type, layers };
  }
  if (type === 'missing' && isText(layer)) {
    return { type, layer };
  }
  if (type === 'read' && isText(name)) {
    return { type, name };
  }
  if ((type === 'broken' || type === 'failed') && isText(text)) {
    return { type, message: text };
  }
  return null;
}

/** The form in which the page takes a message. */
export function wrap(message: ToGraph): Record<string, unknown> {
  return { source: 'deploykit', ...message };
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
