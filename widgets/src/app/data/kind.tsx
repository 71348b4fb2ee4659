/** Settings that only one kind of data has, such as frames per second of videos: the kernel says which, for a path. */

import { type ReactElement, type RefObject, useEffect, useMemo, useState } from 'react';
import { createPortal } from 'react-dom';
import { Field, type ITyped, Wrong } from '../elements/field';
import { useAsk } from '../elements/parts';
import { useSetting } from './setting';

export interface IKind {
  /** The kind of data in words, '' where it is not known. */
  of: string;
  fields: { name: string; label: string; help: string; example: string }[];
}

const NONE: IKind = { of: '', fields: [] };
const PAUSE_MS = 300;

/** The kind of data at a path, asked a moment after the last key. */
export function useKind(path: string, file: string): IKind {
  const { ask, answer } = useAsk<IKind>();
  const [kind, setKind] = useState(NONE);
  useEffect(() => {
    const timer = window.setTimeout(() => void ask('data_fields', { path, file }), PAUSE_MS);
    return () => window.clearTimeout(timer);
  }, [ask, path, file]);
  // While another answer is awaited, the fields of the last one stay where they are.
  useEffect(() => {
    if (answer) {
      setKind(answer.value);
    }
  }, [answer]);
  return kind;
}

/** The fields on screen by name, for the button that sends them. */
export type Shown = Map<string, ITyped['done']>;

interface IProps {
  kind: IKind;
  held: Readonly<Record<string, string>>;
  refused: string;
  shown: Shown;
  /** Where the reasons stand: below the form, or the button to press would move away. */
  reasons: RefObject<HTMLDivElement | null>;
  /** Called with what has been taken. */
  onTaken(name: string, text: string): void;
}

export function Kind({ kind, held, ...rest }: IProps): ReactElement | null {
  if (kind.fields.length === 0) {
    return null;
  }
  return (
    <span className="dk-kind" role="group" aria-label={kind.of ? `Settings of ${kind.of}` : 'Settings of the data'}>
      {kind.fields.map(field => (
        <KindField key={field.name} {...field} held={held[field.name] ?? ''} {...rest} />
      ))}
    </span>
  );
}

type IKindField = Omit<IProps, 'kind' | 'held'> & IKind['fields'][number] & { held: string };

function KindField({ name, label, help, example, held, refused, shown, reasons, onTaken }: IKindField): ReactElement {
  const typed = useSetting(name, held, refused, onTaken);
  const { done } = typed;
  useEffect(() => {
    shown.set(name, done);
    return () => void shown.delete(name);
  }, [shown, name, done]);
  return (
    <>
      <Field
        label={label}
        placeholder={example}
        title={help}
        typed={typed}
        className={example.length > 10 ? 'dk-long' : 'dk-short'}
      />
      {reasons.current && createPortal(<Wrong typed={typed} />, reasons.current)}
    </>
  );
}

/** An empty map that lives as long as its component. */
export function useShown(): Shown {
  return useMemo(() => new Map(), []);
}
