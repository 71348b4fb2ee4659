/** What open graphs show, passed from one to the others. */

import { GRAPH_ORIGIN } from './messages';

/** Which part of a graph is shown: its middle as shares of the graph, and how large. */
export interface ISeen {
  x: number;
  y: number;
  zoom: number;
}

/** What a graph's page says it shows, or null when that is not what the message is about. */
export function seen(data: unknown): ISeen | null {
  const message = (data ?? {}) as Partial<Record<string, unknown>>;
  const { source, type, x, y, zoom } = message;
  const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
  return source === 'deploykit-graph' && type === 'view' && isNumber(x) && isNumber(y) && isNumber(zoom)
    ? { x, y, zoom }
    : null;
}

export interface ILinked {
  frame(): HTMLIFrameElement | null;
  isVisible(): boolean;
  linked: boolean;
}

export class GraphLink {
  /** A graph was opened; returns what closes it. */
  add(graph: ILinked): () => void {
    this.graphs.add(graph);
    return () => this.graphs.delete(graph);
  }

  /** A message of any page: what a linked graph shows goes to all others that are seen. */
  readonly onMessage = (event: Pick<MessageEvent, 'data' | 'origin' | 'source'>): void => {
    const found = event.origin === GRAPH_ORIGIN ? seen(event.data) : null;
    const from = found && [...this.graphs].find(graph => graph.frame()?.contentWindow === event.source);
    if (!found || !from?.linked) {
      return;
    }
    for (const graph of this.graphs) {
      if (graph !== from && graph.linked && graph.isVisible()) {
        const message = { source: 'deploykit', type: 'view', ...found };
        graph.frame()?.contentWindow?.postMessage(message, '*'); // a sandbox has no origin to name
      }
    }
  };

  private readonly graphs = new Set<ILinked>();
}
