import type { ReactElement } from 'react';

export function ModelPanel(): ReactElement | null {
  return null;
}
