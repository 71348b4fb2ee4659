/** Layers of the panels and of open graphs: selecting one here shows it there, and the other way round. */

import { useEffect, useRef } from 'react';
import { type ILayerSelection, SELECTED_EVENT, SHOW_EVENT } from '../../tokens';
import { graphPath, located } from '../graphs';
import { useBench } from '../store';
import type { IGraphs } from './facts';

/** Show a layer in the graph of a file, which is opened when it is not. */
export function showLayer(layer: string, path: string): void {
  window.dispatchEvent(new CustomEvent(SHOW_EVENT, { detail: { layer, path } }));
}

/**
 * Select what is selected in graphs.
 *
 * @param belongs Whether the graph of a path shows what the panel shows; asked at each selection.
 */
export function useSelectedInGraph(belongs: (path: string) => boolean | Promise<boolean>): void {
  const bench = useBench();
  const latest = useRef(belongs);
  latest.current = belongs;
  useEffect(() => {
    let wanted = 0;
    const onSelected = async (event: Event): Promise<void> => {
      const { path, layer, names } = (event as CustomEvent<ILayerSelection>).detail;
      const mine = ++wanted;
      if ((await latest.current(path)) && mine === wanted) {
        bench.look({ layer: [layer, ...names.filter(name => name !== layer)] });
      }
    };
    const listener = (event: Event): void => void onSelected(event);
    window.addEventListener(SELECTED_EVENT, listener);
    return () => {
      wanted = -1; // what is asked for now comes too late
      window.removeEventListener(SELECTED_EVENT, listener);
    };
  }, [bench]);
}

/** Select what is selected in the graphs of a candidate, and in that of the model. */
export function useSelectedInCandidate(key: string): void {
  const bench = useBench();
  useSelectedInGraph(async path => {
    if (key === '') {
      return false;
    }
    try {
      const { value } = await bench.link.ask<IGraphs>('candidate_graphs', { key });
      const found = [value.given, value.before, value.after].map(async file => {
        const place = file && (await located(file));
        return file && place !== null ? graphPath(place, file.folder) : null;
      });
      return (await Promise.all(found)).includes(path);
    } catch {
      return false; // it has no files, or there is no answer
    }
  });
}
