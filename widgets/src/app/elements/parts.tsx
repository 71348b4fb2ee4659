/** Small pieces that all panels are made of. Text goes in as text, never as HTML. */

import {
  type ButtonHTMLAttributes,
  type ReactElement,
  type ReactNode,
  useCallback,
  useEffect,
  useId,
  useRef,
  useState
} from 'react';
import { Refused } from '../link';
import type { IAnswer } from '../protocol';
import { useBench, useSection, useView } from '../store';
import { Icon, type IconName } from './icons';

interface IButton extends ButtonHTMLAttributes<HTMLButtonElement> {
  icon?: IconName;
  kind?: 'usual' | 'primary' | 'quiet' | 'link';
  /** Why it cannot be pressed: it stays focusable, and the reason is read out. */
  reason?: string;
}

export function Button({ icon, kind = 'usual', reason = '', children, onClick, ...rest }: IButton): ReactElement {
  return (
    <button
      type="button"
      className={`dk-button dk-button-${kind}`}
      aria-disabled={reason !== '' || undefined}
      title={reason || rest.title}
      onClick={reason === '' ? onClick : event => event.preventDefault() /* nor is its form sent */}
      {...rest}
    >
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

/** A button that stays pressed. */
export function Toggle({ pressed, ...rest }: IButton & { pressed: boolean }): ReactElement {
  return (
    <button
      type="button"
      {...rest}
      className={`dk-chip ${pressed ? 'dk-on' : ''} ${rest.className ?? ''}`}
      aria-pressed={pressed}
    />
  );
}

/** What went wrong, with what to do; nothing when there is nothing. */
export function Problem({ words, children }: { words: string | undefined; children?: ReactNode }): ReactElement | null {
  if (!words) {
    return null;
  }
  return (
    <div className="dk-problem" role="alert">
      <Icon name="warning" />
      <span>{words}</span>
      {children}
    </div>
  );
}

export function Note({ children }: { children: ReactNode }): ReactElement {
  return <p className="dk-note">{children}</p>;
}

/** A titled part of a panel. */
export function Part({
  title,
  aside,
  children,
  className = ''
}: {
  title: string;
  aside?: ReactNode;
  children: ReactNode;
  className?: string;
}): ReactElement {
  const id = useId();
  return (
    <section className={`dk-part ${className}`} aria-labelledby={id}>
      <div className="dk-part-head">
        <h3 id={id}>{title}</h3>
        <span className="dk-grow" />
        {aside}
      </div>
      {children}
    </section>
  );
}

/**
 * What opens and closes: attributes of its button and of what the button shows.
 *
 * @param name By which the Workbench remembers that it is open, while other things are looked at.
 */
export function useFold(name: string): {
  open: boolean;
  head: ButtonHTMLAttributes<HTMLButtonElement>;
  body: { id: string; hidden: boolean };
} {
  const bench = useBench();
  const open = useView(view => view.folds.includes(name));
  const id = useId();
  const onClick = (): void => {
    const { folds } = bench.store.getState().view;
    bench.look({ folds: folds.includes(name) ? folds.filter(other => other !== name) : [...folds, name] });
  };
  return {
    open,
    head: { type: 'button', 'aria-expanded': open, 'aria-controls': id, onClick },
    body: { id, hidden: !open }
  };
}

/** A part that is closed until it is wanted; its content is made when it is opened. */
export function Fold({ title, children }: { title: string; children: () => ReactNode }): ReactElement {
  const { open, head, body } = useFold(title);
  return (
    <section className="dk-part dk-fold">
      <h3>
        <button className="dk-fold-head" {...head}>
          <Icon name={open ? 'down' : 'right'} />
          {title}
        </button>
      </h3>
      <div {...body}>{open && children()}</div>
    </section>
  );
}

/** A panel's problem, and that it waits for long work, which a command of the kernel cancels. */
export function PanelStatus({ panel, doing, cancel }: { panel: string; doing: string; cancel: string }): ReactElement {
  const problem = usePanelProblem(panel);
  const busy = usePanelBusy(panel);
  const { ask } = useAsk();
  return (
    <>
      <Problem words={problem} />
      {busy && (
        <div className="dk-part">
          <Waiting what={doing} onCancel={() => void ask(cancel)} />
        </div>
      )}
    </>
  );
}

/** Waiting: nothing for a moment, then gray lines, then how long it has taken. */
export function Waiting({ what, onCancel }: { what: string; onCancel?: () => void }): ReactElement | null {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    const began = performance.now();
    const timer = window.setInterval(() => setSeconds((performance.now() - began) / 1000), 300);
    return () => window.clearInterval(timer);
  }, []);
  if (seconds < 0.3) {
    return null;
  }
  return (
    <div className="dk-waiting">
      <span className="dk-skeleton" aria-hidden="true" />
      <span className="dk-skeleton" aria-hidden="true" />
      <span className="dk-unseen" role="status">
        {what}
      </span>
      {seconds >= 10 && (
        <span>
          <span aria-hidden="true">
            Still {what}, {Math.floor(seconds)} s.
          </span>{' '}
          {onCancel && (
            <Button kind="link" onClick={onCancel}>
              Cancel
            </Button>
          )}
        </span>
      )}
    </div>
  );
}

/** What a command said: while it runs, when it failed, and its answer. */
export interface IAsked<T> {
  busy: boolean;
  error: string;
  answer: IAnswer<T> | null;
}

/** Run commands from an event handler; the latest one wins. */
export function useAsk<T = unknown>(): IAsked<T> & {
  ask: (command: string, args?: Record<string, unknown>) => Promise<IAnswer<T> | null>;
  clear: () => void;
} {
  const bench = useBench();
  const turn = useRef(0);
  const [asked, setAsked] = useState<IAsked<T>>({ busy: false, error: '', answer: null });
  const ask = useCallback(
    async (command: string, args: Record<string, unknown> = {}): Promise<IAnswer<T> | null> => {
      const mine = ++turn.current;
      setAsked(old => ({ ...old, busy: true, error: '' }));
      try {
        const answer = await bench.link.ask<T>(command, args);
        if (mine === turn.current) {
          setAsked({ busy: false, error: '', answer });
        }
        return answer;
      } catch (error) {
        if (mine === turn.current) {
          setAsked({ busy: false, error: error instanceof Refused ? error.message : String(error), answer: null });
        }
        return null;
      }
    },
    [bench]
  );
  const clear = useCallback(() => {
    turn.current += 1;
    setAsked({ busy: false, error: '', answer: null });
  }, []);
  return { ...asked, ask, clear };
}

/** Ask for something whenever `args` change, as long as `wanted`. */
export function useAnswer<T>(
  command: string,
  args: Record<string, unknown>,
  wanted = true
): IAsked<T> & { again(): void } {
  const { ask, clear, ...asked } = useAsk<T>();
  const key = JSON.stringify(args);
  const again = useCallback(() => void ask(command, JSON.parse(key)), [ask, command, key]);
  useEffect(() => {
    if (wanted) {
      again();
    } else {
      clear();
    }
  }, [again, clear, wanted]);
  return { ...asked, again };
}

/** What went wrong in a panel, as the kernel knows it. */
export function usePanelProblem(panel: string): string {
  return useSection('app')?.problems[panel] ?? '';
}

export function usePanelBusy(panel: string): boolean {
  return useSection('app')?.busy.includes(panel) ?? false;
}

const NOT_COPIED = 'The browser did not allow copying. Select the text and copy it yourself.';

/** Put text on the clipboard and say so; gives whether it is there. */
export function useCopy(): (text: string) => Promise<boolean> {
  const bench = useBench();
  return async text => {
    const asked = navigator.clipboard?.writeText(text).then(
      () => true,
      () => false
    );
    const done = (await asked) || copyBySelection(text);
    bench.say(done ? 'Copied' : NOT_COPIED, true);
    return done;
  };
}

/** How long a button tells what became of it. */
const TOLD_MS = 2000;

/** Copies a text, and shows that it did. */
export function CopyButton({
  text,
  label,
  ...rest
}: IButton & { text: string | (() => string); label: string }): ReactElement {
  const copy = useCopy();
  const [done, setDone] = useState<boolean | null>(null);
  useEffect(() => {
    const timer = done ? window.setTimeout(() => setDone(null), TOLD_MS) : 0;
    return () => window.clearTimeout(timer);
  }, [done]);
  const icon = done ? 'check' : rest.kind === 'link' ? null : 'copy';
  const onClick = async (): Promise<void> => setDone(await copy(typeof text === 'string' ? text : text()));
  return (
    <>
      <Button {...(icon && { icon })} {...rest} onClick={() => void onClick()}>
        {done ? 'Copied' : done === false ? 'Not copied' : label}
      </Button>
      {done === false && <Problem words={NOT_COPIED} />}
    </>
  );
}

/** Pages that are not served by HTTPS have no clipboard. */
function copyBySelection(text: string): boolean {
  const area = document.createElement('textarea');
  area.value = text;
  area.style.position = 'fixed';
  area.style.opacity = '0';
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (focused instanceof HTMLElement) {
    focused.focus();
  }
  return done;
}

/**
 * Where a key leads to in a list; undefined for keys that lead nowhere.
 *
 * @param page Items that PageUp and PageDown pass over; 0 where they are not the list's.
 */
export function movedInList(key: string, active: number, count: number, page = 0): number | undefined {
  const last = count - 1;
  const moves: Record<string, number> = {
    ArrowDown: Math.min(active + 1, last),
    ArrowUp: Math.max(active - 1, 0),
    Home: 0,
    End: last
  };
  if (page > 0) {
    moves.PageDown = Math.min(active + page, last);
    moves.PageUp = Math.max(active - page, 0);
  }
  return moves[key];
}

/** Arrow keys among the items of one tab stop: tabs, radios, toolbars. */
export function onArrowKeys(event: React.KeyboardEvent<HTMLElement>, selector: string): void {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const items = [...event.currentTarget.querySelectorAll<HTMLElement>(selector)];
  const at = items.indexOf(document.activeElement as HTMLElement);
  if (at < 0 || items.length === 0) {
    return;
  }
  const last = items.length - 1;
  const next =
    event.key === 'Home' ? 0 : event.key === 'End' ? last : step ? (at + step + items.length) % items.length : at;
  if (next !== at) {
    event.preventDefault();
    items[next]?.focus();
    items[next]?.click();
  }
}

/** Have a text read out by screen readers when it changes; nothing is said of the first one. */
export function useMentioned(topic: string, words: string): void {
  const bench = useBench();
  const before = useRef(words);
  useEffect(() => {
    if (words !== before.current) {
      before.current = words;
      bench.mention(topic, words);
    }
  }, [bench, topic, words]);
}
