/** Where the model is among the files of the Jupyter server. */

import { useEffect, useState } from 'react';
import { located } from '../graphs';
import type { IModelFacts } from './section';

export type Place = { state: 'looking' } | { state: 'outside'; why: string } | { state: 'inside'; path: string };

/** Where the model is among the server's files, or why its graph cannot be shown. */
export function usePlace(facts: IModelFacts, home: string): Place {
  const [place, setPlace] = useState<Place>({ state: 'looking' });
  const { path, fileBytes, kernel } = facts;
  useEffect(() => {
    let wanted = true;
    const look = async (): Promise<Place> => {
      const found = await located({ path, home, bytes: fileBytes });
      if (found) {
        return { state: 'inside', path: found };
      }
      const why = kernel
        ? 'No graph: the model came from memory, not from a file that Jupyter shows.'
        : 'No graph: the file is outside the folder that Jupyter shows.';
      return { state: 'outside', why };
    };
    void look().then(found => wanted && setPlace(found));
    return () => {
      wanted = false;
    };
  }, [path, fileBytes, kernel, home]);
  return place;
}
