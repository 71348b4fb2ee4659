/** What stands in the chart's place: the trade-off, settings as lines, devices, or another store. Native radios: one tab stop, with arrow keys. */

import { type ReactElement, useId } from 'react';
import { useBench, useSection, useView } from '../store';
import type { Look } from '../view';

const LOOKS: readonly { name: Look; label: string; title: string }[] = [
  { name: 'chart', label: 'Chart', title: 'Quality against cost' },
  { name: 'settings', label: 'Settings', title: 'Each candidate as a line across its settings' },
  { name: 'devices', label: 'Devices', title: 'Each device with its own front and its best candidate, ranked' },
  {
    name: 'beside',
    label: 'Compare',
    title: 'Compare with another store, such as one from yesterday or from another machine'
  }
];

const FROM_STORES: ReadonlySet<Look> = new Set(['devices', 'beside']);

export function Looks(): ReactElement {
  const bench = useBench();
  const look = useView(view => view.look);
  const name = useId();
  const alone = useSection('beside') === undefined; // a report that is shown alone has no store to look for
  return (
    <fieldset className="dk-looks">
      <legend className="dk-unseen">View</legend>
      {LOOKS.filter(one => !alone || !FROM_STORES.has(one.name)).map(one => (
        <label key={one.name} className={`dk-look ${one.name === look ? 'dk-on' : ''}`} title={one.title}>
          <input
            type="radio"
            className="dk-look-radio"
            name={name}
            checked={one.name === look}
            onChange={() => bench.look({ look: one.name, hovered: '' })}
          />
          {one.label}
        </label>
      ))}
    </fieldset>
  );
}
