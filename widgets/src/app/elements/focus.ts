/** Where the focus goes when what has it goes: React takes elements away, and the page would have it then. */

import { type RefObject, useEffect } from 'react';

const FOCUSABLE = ['button', 'input', 'select', 'textarea', 'a[href]', '[tabindex]']
  .map(kind => `${kind}:not(:disabled):not([tabindex="-1"])`)
  .join();

/** Keep the focus in what is left around an element that had it and is gone. */
export function useKeptFocus(root: RefObject<HTMLElement>): void {
  useEffect(() => {
    const node = root.current;
    if (node === null) {
      return;
    }
    /** What has the focus, and what it is in, up to the root. */
    let trail: Element[] = [];
    const onFocus = ({ target }: FocusEvent): void => {
      trail = [];
      for (let place = target as Element | null; place && place !== node.parentElement; place = place.parentElement) {
        trail.push(place);
      }
    };
    const onBlur = (): void => {
      // An element that is taken away loses the focus while it is still there.
      queueMicrotask(() => {
        if (trail[0]?.isConnected && document.activeElement !== trail[0]) {
          trail = []; // the focus has left it
        }
      });
    };
    const observer = new MutationObserver(() => {
      if (trail.length === 0 || trail[0]?.isConnected || document.activeElement !== document.body) {
        return;
      }
      const next = trail.filter(place => place.isConnected).flatMap(place => firstIn(place) ?? [])[0];
      trail = [];
      next?.focus({ preventScroll: true });
    });
    node.addEventListener('focusin', onFocus);
    node.addEventListener('focusout', onBlur);
    observer.observe(node, { childList: true, subtree: true });
    return () => {
      node.removeEventListener('focusin', onFocus);
      node.removeEventListener('focusout', onBlur);
      observer.disconnect();
    };
  }, [root]);
}

function firstIn(place: Element): HTMLElement | undefined {
  return [...place.querySelectorAll<HTMLElement>(FOCUSABLE)].find(item => item.checkVisibility?.() ?? true);
}

/** Give the focus to the cell an element is in; without one it stays. */
export function leaveToCell(from: Element | null): void {
  for (const kind of ['.jp-Cell', '.jp-Notebook']) {
    const place = from?.closest<HTMLElement>(kind);
    place?.focus({ preventScroll: true });
    if (place && document.activeElement === place) {
      return;
    }
  }
}
