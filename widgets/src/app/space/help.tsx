/** Help of a control: shown while it has the focus of a keyboard, or its name the pointer. */

import type { ReactElement, ReactNode } from 'react';

/** Text that `aria-describedby` points to. */
export function Help({ id, children }: { id: string; children: ReactNode }): ReactElement {
  return (
    <span id={id} role="tooltip" className="dk-help">
      {children}
    </span>
  );
}

/** Why something cannot be had, beside it. */
export function Reason({ id, words }: { id?: string; words: string }): ReactElement | null {
  return words ? (
    <span id={id} className="dk-reason">
      {words}
    </span>
  ) : null;
}
