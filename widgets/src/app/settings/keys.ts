/** Parallel coordinates by keyboard: axes, candidates by their value on one, ranges. */

import type { KeyboardEvent } from 'react';
import { mark, openAsA } from '../chart/keys';
import { extent } from '../format';
import { useBench } from '../store';
import { inWords } from '../tradeoff/filters';
import { measuresOf } from '../tradeoff/measures';
import { useScene } from '../tradeoff/scene';
import type { IRange } from '../view';
import {
  type ICoordinate,
  type ILine,
  position,
  rangeBetween,
  rangeOn,
  upwards,
  withRange,
  worded
} from './coordinates';

export function useKeys(
  lines: readonly ILine[],
  axes: readonly ICoordinate[],
  at: number,
  setAxis: (axis: number) => void
): (event: KeyboardEvent<HTMLElement>) => void {
  const bench = useBench();
  const scene = useScene();
  return event => {
    const axis = axes[at];
    if (!axis || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const { hovered, brush } = bench.store.getState().view;
    const here = lines.find(line => line.row.key === (hovered || scene.a));
    const measures = measuresOf(scene.tradeoff);
    const filter = (range: IRange | null): void => {
      const next = withRange(brush, axis.measure.name, range);
      bench.look({ brush: next });
      bench.say(`${axis.measure.label}: ${range ? inWords(range, measures) : 'no range'}`);
    };
    const letter = event.key.toLowerCase();
    switch (event.key) {
      case 'ArrowLeft':
      case 'ArrowRight': {
        const next = Math.max(0, Math.min(axes.length - 1, at + (event.key === 'ArrowRight' ? 1 : -1)));
        setAxis(next);
        const { measure, ticks } = axes[next] as ICoordinate;
        bench.say(`${measure.title}, ${ticks[0]?.label} to ${ticks.at(-1)?.label}`);
        break;
      }
      case 'ArrowUp':
      case 'ArrowDown': {
        const order = upwards(lines, at);
        const place = here ? order.indexOf(here) : -1;
        const next = order[Math.max(0, Math.min(order.length - 1, place + (event.key === 'ArrowUp' ? 1 : -1)))];
        if (next) {
          bench.look({ hovered: next.row.key });
          bench.say(`${next.row.name} on ${next.row.where}, ${axis.measure.label} ${worded(next.row, axis.measure)}`);
        }
        break;
      }
      case '[':
      case ']': {
        const old = rangeOn(brush, axis);
        const share = here?.at[at];
        if (share !== undefined && share >= 0) {
          const kept = old && extent([position(axis, old.low), position(axis, old.high)]);
          const half = axis.measure.options?.length ? 0.5 / axis.measure.options.length : 1e-9;
          const range =
            event.key === '['
              ? rangeBetween(axis, share - half, Math.max(kept?.[1] ?? 1, share + half))
              : rangeBetween(axis, Math.min(kept?.[0] ?? 0, share - half), share + half);
          filter(range);
        } else {
          bench.say(`${axis.measure.label} is not used by this candidate`);
        }
        break;
      }
      case 'Delete':
      case 'Backspace':
        filter(null);
        break;
      case '0':
        bench.look({ brush: [] });
        bench.say('No ranges');
        break;
      case 'Enter':
        if (here) {
          openAsA(scene.select, here.row, event.currentTarget);
        }
        break;
      default:
        if ((letter !== 'a' && letter !== 'b') || !here) {
          return;
        }
        mark(bench, scene.select, letter, here.row);
    }
    event.preventDefault();
    event.stopPropagation();
  };
}
