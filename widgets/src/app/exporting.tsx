import type { ReactElement } from 'react';

export function ExportPanel(): ReactElement | null {
  return null;
}
