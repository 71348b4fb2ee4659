/** Where to run: runtimes and their devices, threads, batch size. */

import { type ReactElement, useId } from 'react';
import { useRoving } from '../candidate/parts';
import { Button, Problem, Toggle, useAsk, usePanelBusy, usePanelProblem } from '../elements/parts';
import { useAlive } from '../store';
import { Control } from './controls';
import { Help, Reason } from './help';
import { useDraft } from './latest';
import type { IControl } from './values';

export interface IDevice {
  runtime: string;
  device: string;
  label: string;
  help: string;
  on: boolean;
  /** Why it is not there. */
  missing: string;
  /** Why the model does not run there. */
  impossible: string;
}

/** What changes a size. */
const COMMANDS: Record<string, string> = { threads: 'set_threads', batch_size: 'set_batch', lengths: 'set_lengths' };

type Place = [runtime: string, device: string];

export function RunOn({
  devices,
  known,
  controls
}: {
  devices: IDevice[];
  known: boolean;
  controls: IControl[];
}): ReactElement {
  const id = useId();
  const { ask, error } = useAsk();
  const alive = useAlive();
  const asking = usePanelBusy('devices');
  const roving = useRoving(1, devices.length);
  const chosen = devices.filter(d => d.on).map((d): Place => [d.runtime, d.device]);
  const [places, change] = useDraft<Place[]>(chosen, next => ask('set_runtimes', { devices: next }));
  const isOn = (d: IDevice): boolean => places.some(([r, name]) => r === d.runtime && name === d.device);
  const reasons = devices
    .map(d => ({ key: `${d.runtime}-${d.device}`, label: d.label, words: d.missing || d.impossible }))
    .filter(r => r.words !== '');
  return (
    <section className="dk-space-part" aria-labelledby={`${id}-title`}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: arrow keys among the buttons in it, which are one tab stop */}
      <div className="dk-chips" onKeyDown={roving.onKeyDown} onFocus={roving.onFocus}>
        <h4 id={`${id}-title`}>Run on</h4>
        {devices.map((d, place) => {
          const on = isOn(d);
          const reason = d.missing || d.impossible;
          const off = reason !== '' && !on;
          const key = `${d.runtime}-${d.device}`;
          return (
            <span key={key} className="dk-helped">
              <Toggle
                data-item
                tabIndex={roving.stop(place)}
                pressed={on}
                disabled={!alive}
                aria-disabled={off || undefined}
                aria-describedby={`${id}-${key}-help${reason ? ` ${id}-${key}` : ''}`}
                className={`dk-help-name ${reason ? 'dk-impossible' : ''}`}
                onClick={() => {
                  if (!off) {
                    change(
                      on
                        ? places.filter(([r, name]) => r !== d.runtime || name !== d.device)
                        : [...places, [d.runtime, d.device]]
                    );
                  }
                }}
              >
                {d.label}
              </Toggle>
              <Help id={`${id}-${key}-help`}>{d.help}</Help>
            </span>
          );
        })}
        {!known && (
          <Button kind="link" disabled={!alive || asking} onClick={() => void ask('find_devices')}>
            {asking ? 'Looking …' : 'Other devices'}
          </Button>
        )}
      </div>
      {reasons.map(r => (
        <Reason key={r.key} id={`${id}-${r.key}`} words={`${r.label}: ${r.words}`} />
      ))}
      <Problem words={usePanelProblem('devices') || error} />
      <div className="dk-where-sizes">
        {controls.map(control => (
          <Control
            key={control.name}
            control={control}
            owner="run on"
            send={values => ask(COMMANDS[control.name] ?? '', { values })}
          />
        ))}
      </div>
    </section>
  );
}
