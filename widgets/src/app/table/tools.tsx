/** Above the table: filters as chips, how many rows are shown, more columns, code for the same rows. */

import { type ReactElement, useEffect, useId, useRef, useState } from 'react';
import { Icon } from '../elements/icons';
import { Button, CopyButton, useMentioned } from '../elements/parts';
import { thousands } from '../format';
import { useBench, useView } from '../store';
import { chips, frameCode } from '../tradeoff/filters';
import { measuresOf } from '../tradeoff/measures';
import { useScene } from '../tradeoff/scene';
import { columnsOf, MORE } from './columns';

export function Tools({ shown, total }: { shown: number; total: number }): ReactElement {
  const bench = useBench();
  const { tradeoff, rows, labelOf } = useScene();
  const brush = useView(view => view.brush);
  const hiddenRuntimes = useView(view => view.hiddenRuntimes);
  const hiddenFamilies = useView(view => view.hiddenFamilies);
  const frontOnly = useView(view => view.frontOnly);
  const failedOnly = useView(view => view.failedOnly);
  const count = `${thousands(shown)} of ${thousands(total)} rows`;
  useMentioned('rows', count);
  const filters = { brush, hiddenRuntimes, hiddenFamilies, frontOnly, failedOnly };
  return (
    <div className="dk-tools">
      <div className="dk-chips" role="group" aria-label="Filters">
        {chips(filters, measuresOf(tradeoff), labelOf).map(({ words, without }) => (
          <button
            key={words}
            type="button"
            className="dk-chip dk-on"
            aria-label={`Remove the filter ${words}`}
            onClick={() => bench.look(without)}
          >
            {words}
            <Icon name="close" />
          </button>
        ))}
      </div>
      <span className="dk-soft">{count}</span>
      <span className="dk-grow" />
      <Columns />
      <CopyButton kind="link" text={() => frameCode(filters, measuresOf(tradeoff), rows.values())} label="Copy query" />
    </div>
  );
}

function Columns(): ReactElement {
  const bench = useBench();
  const { tradeoff } = useScene();
  const chosen = useView(view => view.columns);
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLSpanElement>(null);
  const id = useId();
  useEffect(() => {
    const onPress = (event: PointerEvent): void => {
      if (open && event.target instanceof Node && !root.current?.contains(event.target)) {
        setOpen(false);
      }
    };
    document.addEventListener('pointerdown', onPress, true); // before the Workbench ends it
    return () => document.removeEventListener('pointerdown', onPress, true);
  }, [open]);
  const share = tradeoff.measures.find(measure => measure.name === 'score')?.unit === '%';
  const known = columnsOf(tradeoff.unit, tradeoff.metric, share);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Escape closes what is in it
    <span
      ref={root}
      className="dk-menu-root"
      onKeyDown={event => {
        if (event.key === 'Escape' && open) {
          event.stopPropagation();
          setOpen(false);
          root.current?.querySelector('button')?.focus();
        }
      }}
    >
      <Button kind="link" aria-expanded={open} aria-controls={id} onClick={() => setOpen(!open)}>
        Columns
      </Button>
      <span id={id} className="dk-menu" role="group" aria-label="More columns" hidden={!open}>
        {MORE.map(name => (
          <label key={name}>
            <input
              type="checkbox"
              checked={chosen.includes(name)}
              onChange={event =>
                bench.look({
                  columns: MORE.filter(other => (other === name ? event.target.checked : chosen.includes(other)))
                })
              }
            />
            {known.get(name)?.title}
          </label>
        ))}
      </span>
    </span>
  );
}
