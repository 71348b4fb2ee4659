import type { ReactElement } from 'react';

export function DataPanel(): ReactElement | null {
  return null;
}
