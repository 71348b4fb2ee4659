import type { ReactElement } from 'react';

export interface ISpace {
  /** The space in a line, for where there is no room for its controls. */
  line: string;
}

declare module './protocol' {
  interface ISections {
    space: ISpace;
  }
}

export function SpacePanel(): ReactElement | null {
  return null;
}
