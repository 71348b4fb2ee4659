/** The legend: buttons that take runtimes and families off the chart and put them back. */

import type { ReactElement } from 'react';
import { SweetSpotEntry } from '../chart/sweetspot';
import { Glyph } from '../elements/icons';
import { useBench, useView } from '../store';
import { useScene } from './scene';

export function Legend(): ReactElement {
  const bench = useBench();
  const { rows, tradeoff, labelOf, colorOf } = useScene();
  const hiddenRuntimes = useView(view => view.hiddenRuntimes);
  const hiddenFamilies = useView(view => view.hiddenFamilies);
  const found = [...rows.values()].filter(row => row.status !== 'planned');
  const runtimes = [...new Set(found.map(row => row.runtime))].sort((one, other) => colorOf(one) - colorOf(other));
  const families = tradeoff.families.filter(({ name }) => found.some(row => row.family === name));
  const names = families.map(({ name }) => name);
  return (
    <div
      className="dk-legend"
      role="toolbar"
      aria-label="Legend: what the chart and the table show"
      onKeyDown={event => onLegendKeys(event)}
    >
      {runtimes.map((name, place) => (
        <Entry
          key={name}
          label={labelOf(name)}
          on={!hiddenRuntimes.includes(name)}
          first={place === 0}
          toggle={() => bench.look({ hiddenRuntimes: toggled(hiddenRuntimes, name) })}
          only={() => bench.look({ hiddenRuntimes: only(runtimes, hiddenRuntimes, name) })}
        >
          <Glyph mark="circle" color={colorOf(name)} filled />
        </Entry>
      ))}
      <span className="dk-legend-gap" />
      {families.map(({ name, mark }) => (
        <Entry
          key={name}
          label={name}
          on={!hiddenFamilies.includes(name)}
          first={false}
          toggle={() => bench.look({ hiddenFamilies: toggled(hiddenFamilies, name) })}
          only={() => bench.look({ hiddenFamilies: only(names, hiddenFamilies, name) })}
        >
          <Glyph mark={mark} color={null} filled={false} />
        </Entry>
      ))}
      <SweetSpotEntry tradeoff={tradeoff} />
    </div>
  );
}

interface IEntry {
  label: string;
  on: boolean;
  first: boolean;
  toggle(): void;
  only(): void;
  children: ReactElement;
}

function Entry({ label, on, first, toggle, only, children }: IEntry): ReactElement {
  return (
    <button
      type="button"
      className="dk-legend-entry"
      aria-pressed={on}
      tabIndex={first ? 0 : -1}
      title={`${on ? 'Hide' : 'Show'} ${label}. Double-click or press Alt+Enter to show only ${label}`}
      onClick={toggle}
      onDoubleClick={only}
      onKeyDown={event => {
        if (event.key === 'Enter' && event.altKey) {
          event.preventDefault();
          only();
        }
      }}
    >
      {children}
      {label}
    </button>
  );
}

/** Arrow keys move the focus only: what they pass must not be toggled. */
function onLegendKeys(event: React.KeyboardEvent<HTMLElement>): void {
  const items = [...event.currentTarget.querySelectorAll<HTMLElement>('button')];
  const at = items.indexOf(document.activeElement as HTMLElement);
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const next = event.key === 'Home' ? 0 : event.key === 'End' ? items.length - 1 : step ? at + step : at;
  if (at >= 0 && next !== at) {
    event.preventDefault();
    items[(next + items.length) % items.length]?.focus();
  }
}

function toggled(names: readonly string[], name: string): string[] {
  return names.includes(name) ? names.filter(other => other !== name) : [...names, name];
}

/** All others hidden; all shown again when that is so already. */
function only(all: readonly string[], hidden: readonly string[], name: string): string[] {
  const others = all.filter(other => other !== name);
  return others.length > 0 && others.every(other => hidden.includes(other)) && !hidden.includes(name) ? [] : others;
}
