/** The layers of a model as a grid: sorted, linked with the graph. */

import { useVirtualizer } from '@tanstack/react-virtual';
import { type KeyboardEvent, type ReactElement, useEffect, useId, useMemo, useRef, useState } from 'react';
import { showLayer, useSelectedInGraph } from '../candidate/layers';
import { movedInList, Note, Part, Problem, Waiting } from '../elements/parts';
import { percent, plural, thousands } from '../format';
import { graphPath } from '../graphs';
import { useBench, useView } from '../store';
import { COLUMNS, type Column, type ILayer, shareOf, sorted } from './layerrows';
import { usePlace } from './place';
import type { IModelFacts } from './section';

interface IPage {
  total: number;
  runtime: string;
  elsewhere: number;
  layers: ILayer[];
}

/** Rows that PageUp and PageDown pass over. */
const PAGE = 10;
const ROW_PX = 28;

/** All pages of layers. */
function useLayers(digest: string, profile: string): { pages: IPage[]; error: string } {
  const bench = useBench();
  const [found, setFound] = useState<{ pages: IPage[]; error: string }>({ pages: [], error: '' });
  useEffect(() => {
    let wanted = true;
    const read = async (): Promise<void> => {
      const pages: IPage[] = [];
      let start = 0;
      do {
        const { value } = await bench.link.ask<IPage>('layers', { digest, profile, start });
        pages.push(value);
        start += value.layers.length;
        if (!wanted || value.layers.length === 0) {
          break;
        }
      } while (start < (pages[0]?.total ?? 0));
      if (wanted) {
        setFound({ pages, error: '' });
      }
    };
    read().catch(error => wanted && setFound({ pages: [], error: String(error.message ?? error) }));
    return () => {
      wanted = false;
    };
  }, [bench, digest, profile]);
  return found;
}

interface ILayers {
  facts: IModelFacts;
  profile: string;
  home: string;
}

export function Layers({ facts, profile, home }: ILayers): ReactElement {
  const { pages, error } = useLayers(facts.digest, profile);
  const layers = useMemo(() => pages.flatMap(page => page.layers), [pages]);
  const [first] = pages;
  return (
    <Part title="Layers" aside={<span className="dk-soft dk-small">{plural(facts.layers, 'layer')}</span>}>
      <Problem words={error} />
      {!first && !error && <Waiting what="reading the layers" />}
      {first && layers.length === 0 && <Note>This file does not list its layers.</Note>}
      {first && layers.length > 0 && (
        <>
          <Grid layers={layers} facts={facts} timed={first.runtime !== ''} home={home} />
          {first.runtime && (
            <Note>
              Share of time of the original model on {first.runtime}, from its profiler.
              {layers.some(({ fused }) => fused.length > 0) && ' * Includes the layers fused with it.'}
              {first.elsewhere >= 0.005 &&
                ` ${percent(first.elsewhere)} is in nodes that belong to none of these layers.`}
            </Note>
          )}
        </>
      )}
    </Part>
  );
}

interface IGrid {
  layers: ILayer[];
  facts: IModelFacts;
  timed: boolean;
  home: string;
}

function Grid({ layers, facts, timed, home }: IGrid): ReactElement {
  const bench = useBench();
  const selected = useView(view => view.layer);
  const place = usePlace(facts, home);
  const [sort, setSort] = useState<{ column: Column | ''; descending: boolean }>({ column: '', descending: false });
  const [active, setActive] = useState(0);
  const id = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const names = useMemo(() => new Set(layers.map(({ name }) => name)), [layers]);
  const chosen = selected.find(name => names.has(name));
  const rows = useMemo(() => sorted(layers, sort.column, sort.descending), [layers, sort]);
  const columns = COLUMNS.filter(column => timed || column.key !== 'time');
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 10,
    scrollPaddingStart: ROW_PX, // the head, which stays
    initialRect: { width: 600, height: 400 }
  });
  const path = place.state === 'inside' ? place.path : '';
  const graph = graphPath(path, facts.folder);
  useSelectedInGraph(opened => path !== '' && opened === graph);
  useEffect(() => {
    const at = rows.findIndex(layer => layer.name === chosen);
    if (at >= 0) {
      setActive(at);
      virtual.scrollToIndex(at);
    }
  }, [chosen, rows, virtual]);
  const show = (at: number): void => {
    const layer = rows[at];
    if (layer) {
      setActive(at);
      bench.look({ layer: [layer.name] });
      if (path) {
        showLayer(layer.name, path);
      }
    }
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.target !== event.currentTarget) {
      return; // a button of the head
    }
    const next = movedInList(event.key, active, rows.length, PAGE);
    if (next !== undefined) {
      event.preventDefault();
      setActive(next);
      virtual.scrollToIndex(next);
    } else if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      show(active);
    }
  };
  const items = virtual.getVirtualItems();
  const onSort = (column: Column): void =>
    setSort(old =>
      old.column === column
        ? { column, descending: !old.descending }
        : { column, descending: COLUMNS.find(c => c.key === column)?.isNumber ?? false }
    );
  return (
    <div
      ref={scroller}
      className={`dk-layers ${timed ? 'dk-layers-timed' : ''}`}
      role="grid"
      tabIndex={0}
      aria-label={`Layers of ${facts.file}`}
      aria-rowcount={rows.length + 1}
      aria-activedescendant={items.some(({ index }) => index === active) ? `${id}-${active}` : undefined}
      onKeyDown={onKey}
    >
      {/* biome-ignore lint/a11y/useFocusableInteractive: the grid is the tab stop */}
      <div className="dk-layers-row dk-layers-head" role="row" aria-rowindex={1}>
        {columns.map(({ key, title, isNumber }) => (
          // biome-ignore lint/a11y/useFocusableInteractive: its button is
          <div
            key={key}
            role="columnheader"
            className={isNumber ? 'dk-n' : ''}
            aria-sort={sort.column === key ? (sort.descending ? 'descending' : 'ascending') : 'none'}
          >
            <button type="button" className="dk-sort" onClick={() => onSort(key)}>
              {title}
              {sort.column === key && <span aria-hidden="true">{sort.descending ? ' ↓' : ' ↑'}</span>}
            </button>
          </div>
        ))}
      </div>
      <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: 'relative' }}>
        {items.map(({ index, start }) => {
          const layer = rows[index];
          return layer ? (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the grid has the keys
            // biome-ignore lint/a11y/useFocusableInteractive: the grid is the tab stop
            <div
              key={index}
              id={`${id}-${index}`}
              role="row"
              aria-rowindex={index + 2}
              aria-selected={layer.name === chosen}
              className={`dk-layers-row ${index === active ? 'dk-active' : ''}`}
              style={{ transform: `translateY(${start}px)` }}
              title={path ? 'Show this layer in the graph' : undefined}
              onClick={() => show(index)}
            >
              {columns.map(({ key, isNumber }) => (
                // biome-ignore lint/a11y/useFocusableInteractive: the grid is the tab stop
                <div key={key} role="gridcell" className={isNumber ? 'dk-n' : ''}>
                  <Cell column={key} layer={layer} total={facts.parameters} />
                </div>
              ))}
            </div>
          ) : null;
        })}
      </div>
    </div>
  );
}

function Cell({ column, layer, total }: { column: Column; layer: ILayer; total: number }): ReactElement {
  switch (column) {
    case 'parameters':
      return <>{layer.parameters ? thousands(layer.parameters) : ''}</>;
    case 'share':
      return <Share value={shareOf(layer, total)} />;
    case 'time':
      return (
        <Share
          value={layer.time}
          title={layer.fused.length > 0 ? `Fused with ${layer.fused.join(', ')}: the time covers all of them.` : ''}
        />
      );
    default:
      return <span title={layer[column]}>{layer[column]}</span>;
  }
}

function Share({ value, title = '' }: { value: number | null; title?: string }): ReactElement | null {
  if (value === null || value === 0) {
    return null;
  }
  return (
    <span className="dk-share" title={title || undefined}>
      <span className="dk-share-bar" aria-hidden="true">
        <span style={{ width: `${Math.min(100, 100 * value)}%` }} />
      </span>
      {percent(value)}
      {title && <span aria-hidden="true">*</span>}
    </span>
  );
}
