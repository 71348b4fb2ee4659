/** Help of controls: in a place of its own below them, so that it covers nothing. */

import {
  type FocusEvent,
  type PointerEvent,
  type ReactElement,
  type ReactNode,
  useCallback,
  useEffect,
  useRef,
  useState
} from 'react';

/** How long the pointer or the focus rests on a control before its help is shown. */
const WAIT_MS = 500;
const HINT = 'Point at a setting to see what it does.';

/** Text that `aria-describedby` points to; for the eye it is shown in the place of help. */
export function Help({ id, children }: { id: string; children: ReactNode }): ReactElement {
  return (
    <span id={id} className="dk-help dk-unseen">
      {children}
    </span>
  );
}

/** Where help is shown. Screen readers read it at its control. */
export function HelpPlace({ words }: { words: string }): ReactElement {
  return (
    <p className="dk-help-place" aria-hidden="true" title={words || undefined}>
      {words || HINT}
    </p>
  );
}

/** The help of the control that the pointer or the focus rests on, and the handlers that find it. */
export function useHelp(): {
  words: string;
  watch: {
    onPointerOver: (event: PointerEvent) => void;
    onFocus: (event: FocusEvent) => void;
  };
} {
  const [words, setWords] = useState('');
  const timer = useRef(0);
  const near = useRef<Element | null>(null);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  const rest = useCallback((target: EventTarget): void => {
    const helped = target instanceof Element ? target.closest('.dk-helped') : null;
    if (helped === near.current) {
      return;
    }
    near.current = helped;
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setWords(helpOf(helped)), WAIT_MS);
  }, []);
  return { words, watch: { onPointerOver: event => rest(event.target), onFocus: event => rest(event.target) } };
}

function helpOf(helped: Element | null): string {
  return helped?.querySelector(':scope > .dk-help')?.textContent?.trim() ?? '';
}

/** Why something cannot be had, beside it. */
export function Reason({ id, words }: { id?: string; words: string }): ReactElement | null {
  return words ? (
    <span id={id} className="dk-reason">
      {words}
    </span>
  ) : null;
}
