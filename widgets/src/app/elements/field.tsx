/** Fields that are typed into: what counts, when it counts, and what becomes of a value that cannot be used. */

import { type KeyboardEvent, type ReactElement, useEffect, useId, useRef, useState } from 'react';

/** Why a value cannot be used; "" when it can. */
export type Verdict = string | Promise<string>;

export interface ITyped {
  /** Why the last value was not taken. */
  wrong: string;
  /** Id of the element that says so. */
  reason: string;
  /** Attributes of the input. */
  input: {
    value: string;
    onChange(event: { target: { value: string } }): void;
    onBlur(): void;
    onKeyDown(event: KeyboardEvent): void;
  };
  /** Have what is typed count now. Gives what the field holds then, null when it was refused. */
  done(): Promise<string | null>;
}

/**
 * A field whose value counts once Enter is pressed or the field is left. One that is refused is not kept: the last good
 * value comes back, with the reason.
 *
 * @param good The last good value.
 * @param take Takes a value that differs from it, or says why not.
 */
export function useTyped(good: string, take: (text: string) => Verdict): ITyped {
  const [text, setText] = useState<string | null>(null);
  const [wrong, setWrong] = useState('');
  const reason = useId();
  /** Whether a value was refused since the last press: a button takes the focus from a field first, then it acts. */
  const refused = useRef(false);
  /** Of what is typed, while its verdict is awaited. */
  const asked = useRef<{ text: string; answer: Promise<string | null> } | null>(null);
  const judge = async (typed: string): Promise<string | null> => {
    const words = await take(typed);
    if (asked.current?.text !== typed) {
      return words ? null : typed; // more was typed since
    }
    asked.current = null;
    setText(null);
    setWrong(words);
    if (words) {
      refused.current = true;
      const forget = new AbortController();
      for (const press of ['pointerdown', 'keydown']) {
        window.addEventListener(
          press,
          () => {
            refused.current = false;
            forget.abort();
          },
          { capture: true, signal: forget.signal }
        );
      }
    }
    return words ? null : typed;
  };
  const done = (): Promise<string | null> => {
    if (text === null || text === good) {
      if (refused.current) {
        return Promise.resolve(null);
      }
      setText(null);
      setWrong('');
      return Promise.resolve(good);
    }
    if (asked.current?.text !== text) {
      asked.current = { text, answer: Promise.resolve(null) };
      asked.current.answer = judge(text);
    }
    return asked.current.answer;
  };
  return {
    wrong,
    reason,
    input: {
      value: text ?? good,
      onChange: ({ target }) => {
        asked.current = null;
        setText(target.value);
        setWrong('');
      },
      onBlur: () => void done(),
      onKeyDown: event => {
        if (event.key === 'Enter') {
          void done();
        }
      }
    },
    done
  };
}

/**
 * A value on its way to the kernel: what is written, until the kernel has another one. When the kernel refuses it, its
 * own comes back.
 *
 * @param held What the kernel has.
 * @param refused Why it refused the last values; "" when it did not.
 */
export function useWritten(held: string, refused: string): [string, (text: string) => void] {
  const [text, setText] = useState(held);
  useEffect(() => setText(held), [held]);
  useEffect(() => {
    if (refused) {
      setText(held);
    }
  }, [held, refused]);
  return [text, setText];
}

/** The reason why a value was not taken. */
export function Wrong({ typed }: { typed: ITyped }): ReactElement | null {
  return typed.wrong ? (
    <span id={typed.reason} className="dk-field-wrong" role="alert">
      {typed.wrong}
    </span>
  ) : null;
}

interface IField {
  label: string;
  typed: ITyped;
  placeholder?: string;
  title?: string;
  disabled?: boolean;
  className?: string;
}

/** A short field with its name before it. Its reason stands below the form, or the button to press would move away. */
export function Field({ label, typed, className = 'dk-short', ...input }: IField): ReactElement {
  const id = useId();
  return (
    <span className="dk-pair">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        className={`dk-input ${className}`}
        spellCheck={false}
        aria-describedby={typed.wrong ? typed.reason : undefined}
        {...input}
        {...typed.input}
      />
    </span>
  );
}

/** The reasons of a form's fields. */
export function Reasons({ of }: { of: readonly ITyped[] }): ReactElement | null {
  const wrong = of.filter(typed => typed.wrong);
  return wrong.length > 0 ? (
    <div className="dk-reasons">
      {wrong.map(typed => (
        <Wrong key={typed.reason} typed={typed} />
      ))}
    </div>
  ) : null;
}
