/** Pictures that come as bytes beside an answer. */

import { useEffect, useState } from 'react';

/** An example of the data. */
export interface ISample {
  index: number;
  label: string;
  /** Its first numbers, where it is no picture. */
  cells: string[];
}

/** Addresses of PNG files, for as long as they are shown. */
export function usePictures(buffers: readonly DataView[] | undefined): string[] {
  const [urls, setUrls] = useState<string[]>([]);
  useEffect(() => {
    const made = (buffers ?? []).map(buffer =>
      URL.createObjectURL(new Blob([buffer as DataView<ArrayBuffer>], { type: 'image/png' }))
    );
    setUrls(made);
    return () => {
      for (const url of made) {
        URL.revokeObjectURL(url);
      }
    };
  }, [buffers]);
  return urls;
}
