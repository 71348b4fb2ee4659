import type { ReactElement } from 'react';

export function TradeoffPanel(): ReactElement | null {
  return null;
}
