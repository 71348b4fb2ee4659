import type { ReactElement } from 'react';

export function CandidatePanel(): ReactElement | null {
  return null;
}
