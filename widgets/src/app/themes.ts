/** The theme of the page, as JupyterLab marks it. */

import { useSyncExternalStore } from 'react';

/** Observe changes; returns a function that ends it. */
export function onTheme(changed: () => void): () => void {
  const observer = new MutationObserver(changed);
  observer.observe(document.body, { attributeFilter: ['data-jp-theme-light', 'data-jp-theme-name'] });
  return () => observer.disconnect();
}

/** Whether the theme is dark; follows a change at once. */
export function useDark(): boolean {
  return useSyncExternalStore(onTheme, () => document.body.dataset.jpThemeLight === 'false');
}
