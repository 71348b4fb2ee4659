/** A slider with two thumbs: the ends of a range. */

import { type KeyboardEvent, type PointerEvent, type ReactElement, useRef } from 'react';
import { afterKey, atShare, type IScale, withUnit } from './values';

interface ISlider extends IScale {
  label: string;
  /** Sorted; all of them have a mark. */
  values: readonly number[];
  disabled: boolean;
  describedBy: string;
  /** The ends were moved. */
  onMove(from: number, to: number): void;
  /** The user has begun to move, or stopped. */
  onHold(held: boolean): void;
}

export function RangeSlider(props: ISlider): ReactElement {
  const { label, values, disabled, describedBy, onMove, onHold, minimum, maximum } = props;
  const track = useRef<HTMLDivElement>(null);
  /** Where both thumbs are at one place, the direction of the first movement decides which one is held. */
  const held = useRef<'from' | 'to' | 'either' | null>(null);
  const from = values[0] ?? minimum;
  const to = values.at(-1) ?? from;
  const place = (value: number): string => `${(100 * (value - minimum)) / (maximum - minimum)}%`;

  const move = (which: 'from' | 'to', value: number): void => {
    if (which === 'from') {
      onMove(Math.min(value, to), to);
    } else {
      onMove(from, Math.max(value, from));
    }
  };
  const valueAt = (event: PointerEvent): number => {
    const box = (track.current as HTMLDivElement).getBoundingClientRect();
    return atShare((event.clientX - box.left) / Math.max(box.width, 1), props);
  };
  const onDown = (event: PointerEvent<HTMLDivElement>): void => {
    if (disabled || event.button !== 0) {
      return;
    }
    event.preventDefault(); // no text is selected; the thumb is focused here
    const value = valueAt(event);
    const nearFrom = Math.abs(value - from) < Math.abs(value - to);
    event.currentTarget.setPointerCapture(event.pointerId);
    hold(from === to ? 'either' : nearFrom ? 'from' : 'to');
    drag(value);
  };
  const hold = (which: 'from' | 'to' | 'either'): void => {
    held.current = which;
    const thumb = which === 'either' ? 'to' : which;
    track.current?.querySelector<HTMLElement>(`[data-thumb=${thumb}]`)?.focus({ preventScroll: true });
    onHold(true); // after the focus: the thumb that loses it lets go
  };
  const drag = (value: number): void => {
    if (held.current === 'either' && value !== from) {
      hold(value < from ? 'from' : 'to');
    }
    if (held.current === 'from' || held.current === 'to') {
      move(held.current, value);
    }
  };
  const onDrag = (event: PointerEvent<HTMLDivElement>): void => {
    if (held.current !== null) {
      drag(valueAt(event));
    }
  };
  const onUp = (): void => {
    held.current = null;
  };
  const onKey = (which: 'from' | 'to') => (event: KeyboardEvent<HTMLElement>) => {
    const next = afterKey(event.key, which === 'from' ? from : to, props);
    if (next !== null && !disabled) {
      event.preventDefault();
      onHold(true);
      move(which, next);
    }
  };

  return (
    <div className="dk-slider" onPointerDown={onDown} onPointerMove={onDrag} onPointerUp={onUp} onPointerCancel={onUp}>
      <div className="dk-slider-track" ref={track}>
        <i style={{ left: place(from), width: `calc(${place(to)} - ${place(from)})` }} />
        {values.slice(1, -1).map(value => (
          <em key={value} style={{ left: place(value) }} />
        ))}
        {(['from', 'to'] as const).map(which => {
          const value = which === 'from' ? from : to;
          return (
            <span
              key={which}
              data-thumb={which}
              role="slider"
              tabIndex={0}
              className="dk-thumb"
              style={{ left: place(value) }}
              aria-label={`${label}, ${which === 'from' ? 'smallest' : 'largest'} value`}
              aria-valuemin={which === 'from' ? minimum : from}
              aria-valuemax={which === 'from' ? to : maximum}
              aria-valuenow={value}
              aria-valuetext={`${which} ${withUnit(value, props)}`}
              aria-disabled={disabled || undefined}
              aria-describedby={describedBy}
              onKeyDown={onKey(which)}
              onBlur={() => onHold(false)}
            />
          );
        })}
      </div>
    </div>
  );
}
