/** A place to drop files on, which is also a button. */

import { type DragEvent, type ReactElement, useRef, useState } from 'react';
import { Icon } from '../elements/icons';
import { Problem } from '../elements/parts';
import { host, type IPlace } from '../host';

interface IDropZone {
  /** What the button says. */
  label: string;
  words: string;
  /** Endings of files that can be chosen, and of those that may lie beside them. */
  endings: { models: readonly string[]; beside: readonly string[] };
  /** Where the files go. */
  to: IPlace;
  /** What to do with something that is not a file. */
  folderWords: string;
  /** Small, where something is shown already. */
  small?: boolean;
  /** Called with the path of the model when all are there. */
  onFile(path: string): void;
}

export function DropZone({ label, words, endings, to, folderWords, small, onFile }: IDropZone): ReactElement | null {
  const input = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const [share, setShare] = useState<number | null>(null);
  const [error, setError] = useState('');
  const upload = host().upload;
  if (upload === null) {
    return small ? null : <p className="dk-note">{words}</p>;
  }
  const take = async (given: readonly File[]): Promise<void> => {
    const isModel = (file: File): boolean => endings.models.some(ending => file.name.toLowerCase().endsWith(ending));
    const files = [...given].sort((one, other) => Number(isModel(other)) - Number(isModel(one)));
    const [model] = files;
    if (!model || share !== null) {
      return;
    }
    setError('');
    setShare(0);
    try {
      onFile(await upload({ files, to, onShare: setShare }));
    } catch (failure) {
      const reason = failure instanceof Error ? failure.message : String(failure);
      setError(`${model.name} could not be copied next to the notebook: ${reason}`);
    } finally {
      setShare(null);
    }
  };
  const onDrop = (event: DragEvent): void => {
    event.preventDefault();
    event.stopPropagation();
    setOver(false);
    if ([...event.dataTransfer.items].some(item => item.webkitGetAsEntry?.()?.isDirectory)) {
      setError(folderWords);
    } else {
      void take([...event.dataTransfer.files]);
    }
  };
  return (
    <>
      <button
        type="button"
        className={`dk-drop ${over ? 'dk-drop-over' : ''} ${small ? 'dk-drop-small' : ''}`}
        disabled={share !== null}
        onClick={() => input.current?.click()}
        onDragOver={event => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={onDrop}
      >
        <Icon name="file" />
        {share === null ? (
          <>
            <b>{label}</b>
            {!small && <span className="dk-soft">{words}</span>}
          </>
        ) : (
          <span className="dk-drop-progress">
            Copying it beside the notebook, {Math.round(100 * share)} %
            <progress max={1} value={share} aria-label="Copied" />
          </span>
        )}
      </button>
      <input
        ref={input}
        type="file"
        hidden
        multiple
        accept={[...endings.models, ...endings.beside].join(',')}
        aria-label={label}
        onChange={event => {
          void take([...(event.target.files ?? [])]);
          event.target.value = '';
        }}
      />
      <Problem words={error} />
    </>
  );
}
