/** The table of candidates: sorted and filtered in the browser, only the rows in sight are made. */

import { useVirtualizer } from '@tanstack/react-virtual';
import { type KeyboardEvent, type ReactElement, useEffect, useId, useMemo, useRef, useState } from 'react';
import { mark, openAsA } from '../chart/keys';
import { Icon } from '../elements/icons';
import { Problem, useCopy } from '../elements/parts';
import { plural } from '../format';
import type { IRow } from '../rows';
import { settingColumns } from '../settings/columns';
import { useBench, useView } from '../store';
import { isHidden, isOutside } from '../tradeoff/filters';
import { isStrong } from '../tradeoff/front';
import { isSetting, measuresOf } from '../tradeoff/measures';
import { useScene } from '../tradeoff/scene';
import { columnsOf, type IColumn, rowAsText, sorted, USUAL } from './columns';
import { roomFor, useWidth } from './room';
import { HEAD_PX, ROW_PX, TableRow } from './row';
import { Tools } from './tools';

interface IShown {
  rows: IRow[];
  total: number;
  columns: IColumn[];
  /** All candidates, whatever the filters: columns keep their widths. */
  all: IRow[];
}

export function Table(): ReactElement {
  const shown = useShown();
  const { refused } = useScene();
  const id = useId();
  return (
    <>
      <Problem words={refused} />
      <Tools shown={shown.rows.length} total={shown.total} />
      {shown.rows.length > 0 ? (
        <Grid {...shown} id={id} />
      ) : (
        <p className="dk-empty">No row passes the filters; {plural(shown.total, 'row')} in all.</p>
      )}
    </>
  );
}

function useShown(): IShown {
  const { rows, judged, tradeoff } = useScene();
  const brush = useView(view => view.brush);
  const hiddenRuntimes = useView(view => view.hiddenRuntimes);
  const hiddenFamilies = useView(view => view.hiddenFamilies);
  const frontOnly = useView(view => view.frontOnly);
  const failedOnly = useView(view => view.failedOnly);
  const sort = useView(view => view.sort);
  const more = useView(view => view.columns);
  const look = useView(view => view.look);
  const all = useMemo(() => [...rows.values()].filter(row => row.status !== 'planned'), [rows]);
  const columns = useMemo(() => {
    const share = tradeoff.measures.find(measure => measure.name === 'score')?.unit === '%';
    const known = columnsOf(tradeoff.unit, tradeoff.metric, share);
    for (const column of settingColumns(tradeoff.settings)) {
      known.set(column.name, column);
    }
    return known;
  }, [tradeoff]);
  const found = useMemo(() => {
    const filters = { brush, hiddenRuntimes, hiddenFamilies, frontOnly, failedOnly };
    const measures = measuresOf(tradeoff);
    const left = all.filter(row => {
      if (row.status === 'failed') {
        return true; // whatever the filter
      }
      return !(failedOnly || isHidden(row, filters, judged.get(row.key)) || isOutside(row, brush, measures));
    });
    const column = columns.get(sort.column) ?? (columns.get('latency') as IColumn);
    return sorted(left, column, sort.descending, row => isStrong(judged.get(row.key)));
  }, [all, columns, judged, tradeoff, brush, hiddenRuntimes, hiddenFamilies, frontOnly, failedOnly, sort]);
  const list = useMemo(() => {
    const usual = ['name', ...USUAL, ...more].flatMap(name => columns.get(name) ?? []);
    return look === 'settings' ? [...usual, ...[...columns.values()].filter(({ name }) => isSetting(name))] : usual;
  }, [columns, more, look]);
  return { rows: found, total: all.length, columns: list, all };
}

function Grid({ rows, total, columns, all, id }: IShown & { id: string }): ReactElement {
  const bench = useBench();
  const copy = useCopy();
  const { select, a, b } = useScene();
  const body = useRef<HTMLDivElement>(null);
  /** Place of the cursor: row -1 is the head, column 0 the boxes. */
  const [at, setAt] = useState<{ key: string; column: number }>({ key: '', column: 0 });
  const sort = useView(view => view.sort);
  const { width, digit } = useWidth(body);
  const room = useMemo(
    () => roomFor(columns, all, { width, digit, sort: sort.column }),
    [columns, all, width, digit, sort.column]
  );
  const headPx = HEAD_PX + (room.lines - 1) * ROW_PX;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => body.current,
    estimateSize: place => (rows[place]?.status === 'failed' ? 2 : room.lines) * ROW_PX,
    getItemKey: place => rows[place]?.key ?? place,
    paddingStart: headPx,
    scrollPaddingStart: headPx,
    overscan: 8
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: rows are as high as the layout makes them
  useEffect(() => virtual.measure(), [virtual, room.lines]);
  const place = at.key === '' ? -1 : rows.findIndex(row => row.key === at.key);
  const here = rows[place];
  const go = (row: number, column: number): void => {
    const next = Math.max(-1, Math.min(rows.length - 1, row));
    setAt({ key: rows[next]?.key ?? '', column: Math.max(0, Math.min(columns.length, column)) });
    if (next >= 0) {
      virtual.scrollToIndex(next);
      bench.look({ hovered: rows[next]?.key ?? '' });
    }
  };
  const onKeyDown = (event: KeyboardEvent<HTMLElement>): void => {
    if (event.target !== event.currentTarget) {
      return; // a button or a log in a row
    }
    if (event.key.toLowerCase() === 'c' && (event.ctrlKey || event.metaKey)) {
      if (here && !window.getSelection()?.toString()) {
        void copy(rowAsText(here));
        event.preventDefault();
      }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const page = Math.max(1, Math.floor((body.current?.clientHeight ?? 0) / ROW_PX) - 2);
    const moves: Record<string, [number, number]> = {
      ArrowDown: [place + 1, at.column],
      ArrowUp: [place - 1, at.column],
      ArrowRight: [place, at.column + 1],
      ArrowLeft: [place, at.column - 1],
      PageDown: [place + page, at.column],
      PageUp: [Math.max(0, place - page), at.column],
      Home: [place, 0],
      End: [place, columns.length]
    };
    const move = moves[event.key];
    const letter = event.key.toLowerCase();
    if (move) {
      go(...move);
    } else if ((event.key === 'Enter' || event.key === ' ') && place < 0) {
      sortBy(columns[at.column - 1]);
    } else if (event.key === 'Enter' && here) {
      openAsA(select, here, event.currentTarget);
    } else if (event.key === ' ' && here) {
      toggle(here.key);
    } else if ((letter === 'a' || letter === 'b') && here) {
      mark(bench, select, letter, here);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const sortBy = (column: IColumn | undefined): void => {
    if (column) {
      const descending = sort.column === column.name && !sort.descending;
      bench.look({ sort: { column: column.name, descending } });
      bench.say(`Sorted by ${column.title}, ${descending ? 'descending' : 'ascending'}`);
    }
  };
  /** The box of a row: the second candidate to compare, or out of the comparison again. */
  const toggle = (key: string): void => {
    if (key === b) {
      select('b', '');
    } else if (key === a) {
      select('a', '');
    } else {
      select('b', key);
    }
  };
  useEffect(() => {
    if (at.key !== '' && !rows.some(row => row.key === at.key)) {
      setAt({ key: '', column: at.column });
    }
  }, [rows, at]);
  // A failed row has two cells: its box, and what is wrong.
  const column = here?.status === 'failed' ? Math.min(at.column, 1) : at.column;
  const active = at.key === '' ? `${id}-head-${at.column}` : `${id}-${at.key}-${column}`;
  const items = virtual.getVirtualItems();
  const isMade = place < 0 || items.some(item => item.index === place);
  return (
    <div
      ref={body}
      className={`dk-grid ${room.lines === 2 ? 'dk-grid-two' : ''}`}
      role="grid"
      aria-label="Candidates"
      aria-rowcount={total + 1}
      aria-colcount={columns.length + 1}
      aria-multiselectable="true"
      aria-activedescendant={isMade ? active : undefined}
      tabIndex={0}
      onKeyDown={onKeyDown}
      onFocus={event => {
        // A cell that was clicked gives the focus to the grid, which has the keys; cells come and go.
        if (event.target.matches('[role=row], [role=gridcell], [role=columnheader]')) {
          body.current?.focus({ preventScroll: true });
        }
      }}
      onPointerLeave={() => bench.look({ hovered: '' })}
    >
      <div className="dk-grid-rows" role="presentation" style={{ height: virtual.getTotalSize() }}>
        <div
          className="dk-grid-head"
          role="row"
          tabIndex={-1}
          aria-rowindex={1}
          style={{ gridTemplateColumns: room.template }}
        >
          <div
            id={`${id}-head-0`}
            className={`dk-grid-cell ${active === `${id}-head-0` ? 'dk-grid-at' : ''}`}
            role="columnheader"
            tabIndex={-1}
          >
            <span title="Compared candidates">A B</span>
          </div>
          {columns.map((column, index) => {
            const on = sort.column === column.name;
            const cell = `${id}-head-${index + 1}`;
            return (
              // biome-ignore lint/a11y/useKeyWithClickEvents: the grid has the keys
              <div
                key={column.name}
                id={cell}
                className={`dk-grid-cell ${index > 0 ? 'dk-n' : ''} ${active === cell ? 'dk-grid-at' : ''}`}
                role="columnheader"
                tabIndex={-1}
                aria-sort={on ? (sort.descending ? 'descending' : 'ascending') : 'none'}
                onClick={() => sortBy(column)}
              >
                <span className="dk-ellipsis" title={column.title}>
                  {column.title}
                </span>
                {on && <Icon name={sort.descending ? 'down' : 'up'} />}
              </div>
            );
          })}
        </div>
        {items.map(item => {
          const row = rows[item.index] as IRow;
          return (
            <TableRow
              key={row.key}
              row={row}
              columns={columns}
              room={room}
              index={item.index}
              start={item.start}
              measure={virtual.measureElement}
              mark={row.key === a ? 'A' : row.key === b ? 'B' : ''}
              cursor={at.key === row.key ? column : -1}
              id={`${id}-${row.key}`}
              onPick={which => {
                setAt({ key: row.key, column: at.column });
                select(which, row.key);
              }}
              onToggle={() => toggle(row.key)}
            />
          );
        })}
      </div>
    </div>
  );
}
