/** A listing of a folder of the kernel's machine, to choose a file from. */

import { type KeyboardEvent, type ReactElement, useEffect, useId, useRef, useState } from 'react';
import { kilobytes } from '../format';
import { Icon } from './icons';
import { Button, movedInList, Note, Problem, useAnswer, Waiting } from './parts';

interface IEntry {
  name: string;
  path: string;
  /** A `model` is a folder that is chosen as a whole. */
  kind: 'folder' | 'model' | 'file';
  size: number | null;
}

interface IListing {
  folder: string;
  words: string;
  parent: string;
  entries: IEntry[];
  more: number;
}

interface IBrowse {
  command: string;
  /** What is looked for, for screen readers. */
  label: string;
  empty: string;
  onChoose(path: string): void;
  onClose(): void;
  /** Whether a folder can also be chosen. */
  folders?: boolean;
}

export function Browse({ command, label, empty, onChoose, onClose, folders = false }: IBrowse): ReactElement {
  const [folder, setFolder] = useState('');
  const { answer, busy, error } = useAnswer<IListing>(command, { folder });
  const [active, setActive] = useState(0);
  const list = useRef<HTMLDivElement>(null);
  const id = useId();
  const found = answer?.value;
  const wanted = useRef(true);
  useEffect(() => {
    if (found && wanted.current) {
      wanted.current = false;
      list.current?.focus();
    }
  }, [found]);
  const open = (next: string): void => {
    wanted.current = true;
    setActive(0);
    setFolder(next);
  };
  const take = (entry: IEntry | undefined): void => {
    if (entry?.kind === 'folder') {
      open(found ? `${found.folder}/${entry.name}` : entry.path);
    } else if (entry) {
      onChoose(entry.path);
    }
  };
  const onKey = (event: KeyboardEvent): void => {
    const next = movedInList(event.key, active, found?.entries.length ?? 0);
    if (next !== undefined) {
      event.preventDefault();
      setActive(next);
      list.current?.children[next]?.scrollIntoView({ block: 'nearest' });
    } else if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      take(found?.entries[active]);
    } else if ((event.key === 'Backspace' || event.key === 'ArrowLeft') && found?.parent) {
      event.preventDefault();
      open(found.parent);
    }
  };
  return (
    <div className="dk-browse" role="group" aria-label={label}>
      <div className="dk-browse-head">
        <Button
          reason={found?.parent ? '' : 'There is no folder above this one.'}
          onClick={() => found && open(found.parent)}
        >
          Up
        </Button>
        <code className="dk-browse-place" title={found?.folder}>
          {found?.words ?? ''}
        </code>
        <span className="dk-grow" />
        {folders && found && (
          <Button onClick={() => onChoose(found.words === '.' ? found.folder : found.words)}>Use this folder</Button>
        )}
        <Button kind="quiet" icon="close" aria-label="Close the listing" onClick={onClose} />
      </div>
      <Problem words={error} />
      {busy && !found && <Waiting what="reading the folder" />}
      {found && found.entries.length > 0 && (
        <div
          ref={list}
          className="dk-browse-list"
          role="listbox"
          tabIndex={0}
          aria-label={`${label}: ${found.words}`}
          aria-activedescendant={`${id}-${active}`}
          onKeyDown={onKey}
        >
          {found.entries.map((entry, place) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the list has the keys
            <div
              key={entry.name}
              id={`${id}-${place}`}
              role="option"
              tabIndex={-1}
              aria-selected={place === active}
              className="dk-browse-entry"
              onClick={() => take(entry)}
            >
              <Icon name={entry.kind === 'folder' ? 'folder' : entry.kind === 'model' ? 'graph' : 'file'} />
              <span className="dk-browse-name">{entry.name}</span>
              <span className="dk-soft">
                {entry.kind === 'model' ? 'SavedModel' : entry.size === null ? '' : `${kilobytes(entry.size)} kB`}
              </span>
            </div>
          ))}
        </div>
      )}
      {found && found.entries.length === 0 && <Note>{empty}</Note>}
      {found && found.more > 0 && <Note>{found.more} more are not shown. Type the path instead.</Note>}
    </div>
  );
}
