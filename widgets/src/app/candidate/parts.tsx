/** What the parts of the Candidate panel share. */

import { type ReactElement, type ReactNode, type RefObject, useEffect, useState } from 'react';
import { Button, type IAsked, Problem, Waiting } from '../elements/parts';

/** What a part shows. */
export interface ISubject {
  /** The candidate's key. */
  keyOf: string;
  /** A or B. */
  letter: string;
  /** Changes when the candidate was measured again. */
  stamp: string;
}

/** An answer of the kernel: waiting, refused with a way to try again, or here. */
export function Asked<T>({
  asked,
  what,
  children
}: {
  asked: IAsked<T> & { again(): void };
  what: string;
  children: (value: T, buffers: DataView[]) => ReactNode;
}): ReactElement {
  if (asked.error) {
    return (
      <Problem words={asked.error}>
        <Button onClick={asked.again}>Try again</Button>
      </Problem>
    );
  }
  if (asked.answer === null) {
    return <Waiting what={what} />;
  }
  return <>{children(asked.answer.value, asked.answer.buffers)}</>;
}

/** Whether an element is, or once was, near the visible part of the page: only then is anything computed for it. */
export function useNear(ref: RefObject<Element>): boolean {
  const [near, setNear] = useState(false);
  useEffect(() => {
    const element = ref.current;
    if (near || element === null) {
      return;
    }
    const observer = new IntersectionObserver(
      entries => {
        if (entries.some(entry => entry.isIntersecting)) {
          setNear(true);
        }
      },
      { rootMargin: '300px' }
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, [near, ref]);
  return near;
}

const STEPS: Record<string, [number, number]> = {
  ArrowRight: [0, 1],
  ArrowLeft: [0, -1],
  ArrowDown: [1, 0],
  ArrowUp: [-1, 0]
};

function inFirstRow(items: readonly HTMLElement[]): number {
  const top = items[0]?.getBoundingClientRect().top ?? 0;
  const next = items.findIndex(item => item.getBoundingClientRect().top > top + 1);
  return next < 0 ? Math.max(1, items.length) : next;
}

/**
 * Arrow keys among items in rows; one of them is the tab stop.
 *
 * @param columns Items in a row; 0: as many as the layout has put there.
 * @param count All items.
 * @returns Properties of the container; items need `data-item` and the tab index that `stop` gives.
 */
export function useRoving(
  columns: number,
  count: number
): {
  onKeyDown: (event: React.KeyboardEvent<HTMLElement>) => void;
  onFocus: (event: React.FocusEvent<HTMLElement>) => void;
  stop: (place: number) => 0 | -1;
} {
  const [at, setAt] = useState(0);
  const items = (container: HTMLElement): HTMLElement[] => [...container.querySelectorAll<HTMLElement>('[data-item]')];
  return {
    onKeyDown: event => {
      const all = items(event.currentTarget);
      const here = all.indexOf(document.activeElement as HTMLElement);
      const step = STEPS[event.key];
      const wide = columns || inFirstRow(all);
      if (here < 0 || event.ctrlKey || event.metaKey || event.altKey) {
        return;
      }
      const next =
        event.key === 'Home' ? 0 : event.key === 'End' ? all.length - 1 : step ? here + step[0] * wide + step[1] : -1;
      if (next >= 0 && next < all.length && next !== here) {
        event.preventDefault();
        all[next]?.focus();
      }
    },
    onFocus: event => {
      const place = items(event.currentTarget).indexOf(event.target as HTMLElement);
      if (place >= 0) {
        setAt(place);
      }
    },
    stop: place => (place === Math.min(at, count - 1) ? 0 : -1)
  };
}
