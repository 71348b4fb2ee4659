/** One candidate in the table; a failed one says why, and what to do. */

import { memo, type ReactElement, useState } from 'react';
import { Glyph, Icon, type IconName } from '../elements/icons';
import { Button, useAsk } from '../elements/parts';
import type { IRow } from '../rows';
import { useBench, useView } from '../store';
import { Again } from '../sweep/again';
import { isStrong } from '../tradeoff/front';
import { useScene } from '../tradeoff/scene';
import { badgeInWords } from '../tradeoff/words';
import type { IColumn } from './columns';
import type { IRoom } from './room';

export const ROW_PX = 28;
export const HEAD_PX = 30;

interface ITableRow {
  row: IRow;
  columns: readonly IColumn[];
  room: IRoom;
  index: number;
  start: number;
  measure: (element: Element | null) => void;
  mark: 'A' | 'B' | '';
  /** Column of the cursor, or -1. */
  cursor: number;
  id: string;
  onPick(which: 'a' | 'b'): void;
  onToggle(): void;
}

export function TableRow(props: ITableRow): ReactElement {
  const { row, columns, room, index, start, measure, mark, cursor, id, onPick, onToggle } = props;
  const bench = useBench();
  const hovered = useView(view => view.hovered === row.key);
  const failed = row.status === 'failed';
  const look = [mark && 'dk-chosen-row', hovered && 'dk-hovered', failed && 'dk-failed'];
  const at = (column: number): string => (cursor === column ? 'dk-grid-at' : '');
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the grid has the keys
    <div
      ref={measure}
      data-index={index}
      className={`dk-grid-row ${look.filter(Boolean).join(' ')}`}
      role="row"
      aria-rowindex={index + 2}
      aria-selected={mark !== ''}
      tabIndex={-1}
      style={{
        gridTemplateColumns: failed ? '40px minmax(0, 1fr)' : room.template,
        transform: `translateY(${start}px)`
      }}
      onPointerEnter={() => bench.look({ hovered: row.key })}
      onClick={event => onPick(event.shiftKey ? 'b' : 'a')}
    >
      <div className={`dk-grid-cell ${at(0)}`} role="gridcell" tabIndex={-1} id={`${id}-0`}>
        <Box row={row} mark={mark} onToggle={onToggle} />
      </div>
      {failed ? (
        <div
          className={`dk-grid-cell dk-grid-wide ${at(1)}`}
          role="gridcell"
          tabIndex={-1}
          id={`${id}-1`}
          aria-colspan={columns.length}
        >
          <Failed row={row} />
        </div>
      ) : (
        columns.map((column, place) => (
          <div
            key={column.name}
            id={`${id}-${place + 1}`}
            className={`dk-grid-cell ${place > 0 ? 'dk-n' : 'dk-grid-name'} ${at(place + 1)}`}
            role="gridcell"
            tabIndex={-1}
          >
            {place === 0 ? <Name row={row} /> : <Value row={row} column={column} intervals={room.intervals} />}
          </div>
        ))
      )}
    </div>
  );
}

const Value = memo(function Value({
  row,
  column,
  intervals
}: {
  row: IRow;
  column: IColumn;
  intervals: boolean;
}): ReactElement {
  const { value, around, title } = column.cell(row);
  return (
    <span title={title ?? (around && `${value} ${around}`)}>
      {value}
      {around && <span className={intervals ? 'dk-soft' : 'dk-unseen'}> {around}</span>}
    </span>
  );
});

function Box({ row, mark, onToggle }: { row: IRow; mark: 'A' | 'B' | ''; onToggle(): void }): ReactElement {
  const letter = mark === '' ? '' : mark === 'A' ? 'dk-ab' : 'dk-ab dk-ab-b';
  return (
    <button
      type="button"
      role="checkbox"
      className="dk-grid-box"
      aria-checked={mark !== ''}
      aria-label={mark ? `${mark}, ${row.name}` : `Compare ${row.name}`}
      tabIndex={-1}
      onClick={event => {
        event.stopPropagation();
        onToggle();
      }}
    >
      <span className={letter || 'dk-grid-empty'}>{mark}</span>
    </button>
  );
}

function Name({ row }: { row: IRow }): ReactElement {
  const { judged, colorOf } = useScene();
  return (
    <>
      <Glyph mark={row.mark} color={colorOf(row.runtime)} filled={isStrong(judged.get(row.key))} />
      <span className="dk-ellipsis" title={row.name}>
        {row.name}
      </span>
      <span className="dk-soft dk-grid-where" title={row.where}>
        {row.where}
      </span>
      <Badges row={row} />
    </>
  );
}

/** Badges as icons: their words are titles, and text for screen readers. */
function Badges({ row }: { row: IRow }): ReactElement {
  return (
    <>
      {row.badges.map(badge => {
        const [icon, warns] = MARKS[badge] ?? ['info', false];
        const words = row.stopped && badge === 'stopped' ? row.stopped : badgeInWords(badge);
        return (
          <span key={badge} className={`dk-mark ${warns ? 'dk-mark-warn' : ''}`} title={words}>
            <Icon name={icon} />
            <span className="dk-unseen">{badge}</span>
          </span>
        );
      })}
    </>
  );
}

/** The icon of each badge, and whether it is a warning. */
const MARKS: Record<string, [IconName, boolean]> = {
  noisy: ['noise', true],
  inconclusive: ['question', true],
  'not warm': ['warning', true],
  throttled: ['warning', true],
  'timed briefly': ['clock', false],
  'still measuring': ['clock', false],
  'same file': ['copy', false],
  slower: ['down', true],
  stopped: ['stop', false]
};

function Failed({ row }: { row: IRow }): ReactElement {
  const { cause, remedy, log } = row.failure ?? { cause: 'unknown cause', remedy: '', log: '' };
  return (
    <>
      <span className="dk-badge dk-badge-bad">failed</span> {row.name} on {row.where}: {cause}
      {remedy && (
        <span>
          {' '}
          <b>Remedy:</b> {remedy}
        </span>
      )}
      {log && <Log row={row} />} <Again row={row} />
    </>
  );
}

function Log({ row }: { row: IRow }): ReactElement {
  const [open, setOpen] = useState(false);
  const { ask, answer, error } = useAsk<string>();
  return (
    <>
      {' '}
      <Button
        kind="link"
        aria-expanded={open}
        onClick={event => {
          event.stopPropagation();
          setOpen(!open);
          if (!open) {
            void ask('log', { key: row.key });
          }
        }}
      >
        Log
      </Button>
      {open && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so it must be reached by keyboard
        <pre className="dk-log" tabIndex={0} role="region" aria-label={`Log of ${row.name}`}>
          {error || answer?.value || '…'}
        </pre>
      )}
    </>
  );
}
