/** Pictures that come as bytes beside an answer. */

import { useEffect, useState } from 'react';

/** One transparent pixel: an empty address would be asked of the server. */
export const BLANK = 'data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==';

/** An example of the data. */
export interface ISample {
  index: number;
  label: string;
  /** Its first numbers, where it is not a picture. */
  cells: string[];
}

/** Addresses of PNG files, for as long as they are shown; null stands for an example without a picture. */
export function usePictures(buffers: readonly (DataView | null)[] | undefined): (string | undefined)[] {
  const [urls, setUrls] = useState<(string | undefined)[]>([]);
  useEffect(() => {
    const made = (buffers ?? []).map(
      buffer => buffer && URL.createObjectURL(new Blob([buffer as DataView<ArrayBuffer>], { type: 'image/png' }))
    );
    setUrls(made.map(url => url ?? undefined));
    return () => {
      for (const url of made) {
        if (url) {
          URL.revokeObjectURL(url);
        }
      }
    };
  }, [buffers]);
  return urls;
}
