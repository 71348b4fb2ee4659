/** Whether the machine at an address answers, asked a moment after the last key. */

import { type ReactElement, useCallback, useEffect, useRef } from 'react';
import { Icon } from '../elements/icons';
import { Button, Problem, useAsk } from '../elements/parts';
import { useAlive } from '../store';

const PAUSE_MS = 900;
const ADDRESS = /^[^\s:/]+:\/\/[^\s]/;

/**
 * @param name Of the option that takes the address.
 * @param text What its field holds now.
 */
export function Machine({ name, text }: { name: string; text: string }): ReactElement | null {
  const alive = useAlive();
  const { ask, clear, busy, error, answer } = useAsk<string>();
  /** Nothing is asked of a machine before the user has typed or pressed: a notebook may be opened to be read. */
  const first = useRef(text);
  const value = text.trim();
  const isAddress = ADDRESS.test(value);
  const look = useCallback(() => void ask('look_at', { name, value }), [ask, name, value]);
  useEffect(() => {
    clear();
    if (!isAddress || value === first.current.trim()) {
      return;
    }
    first.current = '';
    const timer = window.setTimeout(look, PAUSE_MS);
    return () => window.clearTimeout(timer);
  }, [clear, look, isAddress, value]);
  if (!isAddress) {
    return null;
  }
  return (
    <div className="dk-machine">
      {busy ? (
        <span role="status" className="dk-soft">
          Looking for the machine …
        </span>
      ) : answer?.value ? (
        <span role="status">
          <Icon name="check" /> {answer.value}
        </span>
      ) : (
        <Problem words={error} />
      )}
      {!busy && !(answer && !answer.value) && (
        <Button kind="link" disabled={!alive} onClick={look}>
          {answer || error ? 'Check again' : 'Check the machine'}
        </Button>
      )}
    </div>
  );
}
