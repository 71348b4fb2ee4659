/** Devices and machines side by side: one front for each, its best candidate, and a ranking under limits. */

import { type ReactElement, useMemo } from 'react';
import { Lines, Plots } from '../beside/sides';
import { useTyped } from '../elements/field';
import { Icon } from '../elements/icons';
import { Problem, useAnswer, Waiting } from '../elements/parts';
import type { IRow } from '../rows';
import { useBench, useView } from '../store';
import { useScene } from '../tradeoff/scene';
import type { ILimits } from '../view';

export interface IRanked {
  summary: string;
  headers: string[];
  devices: {
    /** Of this line alone; titles are for people. */
    key: string;
    /** `cuda · AMD EPYC, 16 cores (rack)`. */
    title: string;
    met: boolean;
    /** Key of the best candidate; empty when there is none. */
    best: string;
    /** Whether it is in this store: only then can it be selected. */
    here: boolean;
    cells: string[];
    rows: IRow[];
  }[];
}

declare module '../protocol' {
  interface ISections {
    /** Empty: that it is there has the view offered. */
    devices: Record<string, never>;
  }
}

const FIELDS: readonly { name: keyof ILimits; label: string; unit: string; hint: string; wide: boolean }[] = [
  { name: 'p50', label: 'p50 at most', unit: 'ms', hint: '', wide: false },
  { name: 'energy', label: 'Energy at most', unit: 'mJ each', hint: '', wide: false },
  { name: 'price', label: 'Price per hour', unit: '', hint: '0.17 or cuda=2.5, cpu=0.17', wide: true },
  { name: 'cost', label: 'Cost at most', unit: 'per million', hint: '', wide: false },
  { name: 'stores', label: 'Other machines', unit: '', hint: 'runs/board, runs/rack', wide: true }
];

/** Columns that are more than text. */
const [VERDICT, BEST] = [2, 3];

export function Devices(): ReactElement {
  const limits = useView(view => view.limits);
  const { tradeoff } = useScene();
  const goal = [tradeoff.maxDrop, tradeoff.minimize];
  const { answer, busy, error } = useAnswer<IRanked>('devices', { limits, goal });
  return (
    <div className="dk-devices">
      <div className="dk-devices-limits" role="group" aria-label="Limits">
        {FIELDS.map(field => (
          <Limit key={field.name} {...field} />
        ))}
      </div>
      <Problem words={error} />
      {busy && !answer && <Waiting what="ranking the devices" />}
      {answer && <Ranked ranked={answer.value} />}
    </div>
  );
}

function Limit({ name, label, unit, hint, wide }: (typeof FIELDS)[number]): ReactElement {
  const bench = useBench();
  const limits = useView(view => view.limits);
  const typed = useTyped(limits[name], text => {
    bench.look({ limits: { ...limits, [name]: text.trim() } });
    return ''; // the kernel says what is wrong with it
  });
  return (
    <label className={wide ? 'dk-devices-wide' : ''}>
      <span>{label}</span>
      <input
        className="dk-input"
        placeholder={hint || 'no limit'}
        inputMode={wide ? undefined : 'decimal'}
        {...typed.input}
      />
      {unit && <span className="dk-soft">{unit}</span>}
    </label>
  );
}

function Ranked({ ranked }: { ranked: IRanked }): ReactElement {
  const sides = useMemo(() => ranked.devices.map(({ key, title, rows }) => ({ key, title, rows })), [ranked]);
  return (
    <>
      <p className="dk-beside-summary">
        <b>{ranked.summary}</b>
      </p>
      <Lines label="Devices, the best first" headers={ranked.headers}>
        {ranked.devices.map(device => (
          <Device key={device.key} device={device} />
        ))}
      </Lines>
      <Plots sides={sides} />
    </>
  );
}

function Device({ device: { met, best, here, cells } }: { device: IRanked['devices'][number] }): ReactElement {
  const bench = useBench();
  const { select } = useScene();
  const hovered = useView(view => view.hovered === best && best !== '');
  return (
    <tr
      className={`${hovered ? 'dk-beside-at' : ''} ${met ? '' : 'dk-devices-missed'}`}
      onPointerEnter={() => bench.look({ hovered: best })}
      onPointerLeave={() => bench.look({ hovered: '' })}
    >
      {cells.map((cell, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: cells have places, and nothing else
        <td key={at}>
          {at === BEST && here && best ? (
            <button
              type="button"
              className="dk-button dk-button-link"
              title="Show as A"
              onClick={() => select('a', best)}
            >
              {cell}
            </button>
          ) : at === VERDICT && !met ? (
            <>
              <Icon name="warning" /> {cell}
            </>
          ) : (
            cell
          )}
        </td>
      ))}
    </tr>
  );
}
