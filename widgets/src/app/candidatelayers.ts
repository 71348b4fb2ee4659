/** Layers of the panel and of open graphs: selecting one here shows it there, and the other way round. */

import { useEffect } from 'react';
import { SELECTED_EVENT, SHOW_EVENT } from '../tokens';
import type { IFile } from './candidatefacts';
import { host } from './host';
import { useBench } from './store';

/** Factory of graphs, as "Open With" shows it. */
export const GRAPH = 'Graph (deploykit)';

/** Show a layer in the graph of a file, which is opened when it is not. */
export function showLayer(layer: string, path: string | null): void {
  window.dispatchEvent(new CustomEvent(SHOW_EVENT, { detail: path ? { layer, path } : { layer } }));
}

/** Follow what is selected in graphs. */
export function useSelectedLayers(): void {
  const bench = useBench();
  useEffect(() => {
    const onSelected = (event: Event): void => {
      const { layer, names } = ((event as CustomEvent).detail ?? {}) as { layer?: unknown; names?: unknown };
      if (typeof layer === 'string') {
        const all = Array.isArray(names) ? names.filter(name => typeof name === 'string') : [];
        bench.look({ layer: [layer, ...all].join('\n') });
      }
    };
    window.addEventListener(SELECTED_EVENT, onSelected);
    return () => window.removeEventListener(SELECTED_EVENT, onSelected);
  }, [bench]);
}

/** A file's path as JupyterLab names it; null when it is outside of the folder that JupyterLab shows. */
export function contentsPath(file: IFile | null, near: Element | null): string | null {
  const relative = file?.path ?? '';
  const folder = near === null ? null : (host().folder?.(near) ?? null);
  if (folder === null || relative === '') {
    return null;
  }
  const parts = folder === '' ? [] : folder.split('/');
  for (const part of relative.split('/')) {
    if (part === '..') {
      if (parts.length === 0) {
        return null;
      }
      parts.pop();
    } else if (part !== '.' && part !== '') {
      parts.push(part);
    }
  }
  return relative.startsWith('/') ? null : parts.join('/');
}
