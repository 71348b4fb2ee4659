/** Changes of one control on their way to the kernel: one at a time, and of those that wait only the latest. */

import { useEffect, useMemo, useRef, useState } from 'react';

export class Latest<T> {
  /**
   * @param send Tells the kernel; resolves when it has answered.
   * @param settled Called when nothing is on its way any more.
   */
  constructor(
    private readonly send: (value: T) => Promise<unknown>,
    private readonly settled: () => void
  ) {}

  put(value: T): void {
    this.waiting = { value };
    void this.next();
  }

  private async next(): Promise<void> {
    if (this.busy) {
      return;
    }
    while (this.waiting !== null) {
      const { value } = this.waiting;
      this.waiting = null;
      this.busy = true;
      try {
        await this.send(value);
      } finally {
        this.busy = false;
      }
    }
    this.settled();
  }

  private waiting: { value: T } | null = null;
  private busy = false;
}

/**
 * The value a control shows: what the user has made of it, until the kernel has answered; then what the kernel says.
 *
 * @param value What the kernel says.
 * @param send Tells the kernel.
 */
export function useDraft<T>(value: T, send: (value: T) => Promise<unknown>): [T, (value: T) => void] {
  const [draft, setDraft] = useState<{ value: T } | null>(null);
  const current = useRef(send);
  const shown = useRef(true);
  current.current = send;
  useEffect(() => {
    shown.current = true;
    return () => {
      shown.current = false;
    };
  }, []);
  const latest = useMemo(
    () =>
      new Latest<T>(
        change => current.current(change),
        () => shown.current && setDraft(null)
      ),
    []
  );
  const change = (next: T): void => {
    setDraft({ value: next });
    latest.put(next);
  };
  return [draft === null ? value : draft.value, change];
}
