/** Columns whose widths can be changed by dragging or with arrow keys, in a tab of its own; kept by the browser. */

import { type CSSProperties, type KeyboardEvent, type PointerEvent, type ReactElement, useState } from 'react';

export interface IWidths {
  space: number;
  candidate: number;
}

const USUAL: IWidths = { space: 232, candidate: 346 };
const LEAST: IWidths = { space: 180, candidate: 280 };
const MOST: IWidths = { space: 420, candidate: 640 };
const KEPT = 'deploykit-panes';
const STEP = 16;

/** A width within its limits. */
export function limited(name: keyof IWidths, width: number): number {
  return Math.round(Math.min(MOST[name], Math.max(LEAST[name], width)));
}

function kept(): IWidths {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT) ?? '{}') as Partial<IWidths>;
    return {
      space: limited('space', Number(found.space) || USUAL.space),
      candidate: limited('candidate', Number(found.candidate) || USUAL.candidate)
    };
  } catch {
    return USUAL; // no storage, or not ours
  }
}

export function usePanes(): {
  style: CSSProperties;
  separator: (name: keyof IWidths) => ReactElement;
} {
  const [widths, setWidths] = useState(kept);
  const change = (name: keyof IWidths, width: number): void => {
    const next = { ...widths, [name]: limited(name, width) };
    setWidths(next);
    try {
      localStorage.setItem(KEPT, JSON.stringify(next));
    } catch {
      return; // the widths are for this time only
    }
  };
  const style = {
    '--dk-space-width': `${widths.space}px`,
    '--dk-candidate-width': `${widths.candidate}px`
  } as CSSProperties;
  return { style, separator: name => <Separator name={name} width={widths[name]} onChange={change} /> };
}

interface ISeparator {
  name: keyof IWidths;
  width: number;
  onChange: (name: keyof IWidths, width: number) => void;
}

function Separator({ name, width, onChange }: ISeparator): ReactElement {
  // The column grows to the right of the first separator, and to the left of the second.
  const sign = name === 'space' ? 1 : -1;
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      onChange(name, width + sign * step);
    }
  };
  const onPointerDown = (event: PointerEvent<HTMLElement>): void => {
    const handle = event.currentTarget;
    const from = event.clientX;
    handle.setPointerCapture(event.pointerId);
    handle.onpointermove = move => onChange(name, width + sign * (move.clientX - from));
    // The capture ends with the movement, however that ends.
    handle.onlostpointercapture = () => {
      handle.onpointermove = null;
    };
  };
  return (
    <div
      className={`dk-separator dk-separator-${name}`}
      role="separator"
      aria-orientation="vertical"
      aria-label={name === 'space' ? 'Width of Space' : 'Width of Candidate'}
      aria-valuenow={width}
      aria-valuemin={LEAST[name]}
      aria-valuemax={MOST[name]}
      tabIndex={0}
      onKeyDown={onKeyDown}
      onPointerDown={onPointerDown}
    />
  );
}
