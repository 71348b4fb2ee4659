/** Layers of the panel and of open graphs: selecting one here shows it there, and the other way round. */

import { useEffect } from 'react';
import { SELECTED_EVENT, SHOW_EVENT } from '../tokens';
import { useBench } from './store';

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
