/** Fields that are typed into: what counts, when it counts, and what becomes of a value that cannot be used. */

import { type KeyboardEvent, type ReactElement, useEffect, useId, useRef, useState } from 'react';

/** Why a value cannot be used; "" when it can. */
export type Verdict = string | Promise<string>;

export interface ITyped {
  /** Why the last value was not taken. */
  wrong: string;
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
  /** Of what is typed, while its verdict is awaited. */
  const asked = useRef<{ text: string; answer: Promise<string | null> } | null>(null);
  const judge = async (typed: string): Promise<string | null> => {
    const reason = await take(typed);
    if (asked.current?.text !== typed) {
      return reason ? null : typed; // more was typed since
    }
    asked.current = null;
    setText(null);
    setWrong(reason);
    return reason ? null : typed;
  };
  const done = (): Promise<string | null> => {
    if (text === null || text === good) {
      setText(null);
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

/** The reason beside a field. */
export function Wrong({ id, words }: { id: string; words: string }): ReactElement | null {
  return words ? (
    <span id={id} className="dk-field-wrong" role="alert">
      {words}
    </span>
  ) : null;
}

interface IField {
  label: string;
  typed: ITyped;
  placeholder?: string;
  disabled?: boolean;
  className?: string;
}

/** A short field with its name before it and the reason after it. */
export function Field({ label, typed, className = 'dk-short', ...input }: IField): ReactElement {
  const id = useId();
  return (
    <span className="dk-pair">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        className={`dk-input ${className}`}
        spellCheck={false}
        aria-describedby={typed.wrong ? `${id}-wrong` : undefined}
        {...input}
        {...typed.input}
      />
      <Wrong id={`${id}-wrong`} words={typed.wrong} />
    </span>
  );
}
