/** The pointer over parallel coordinates: lines under it, clicks, and ranges that are dragged along an axis. */

import { type PointerEvent, useRef, useState } from 'react';
import { useBench } from '../store';
import { useScene } from '../tradeoff/scene';
import type { IRange } from '../view';
import { type ICoordinate, type ILine, type IPlaces, nearestLine, rangeBetween, withRange } from './coordinates';

const NEAR_PX = 12;
/** Beside an axis where dragging selects a range of it. */
const AXIS_PX = 12;
const DRAG_PX = 4;

interface IDragged {
  axis: number;
  range: IRange | null;
}

export function usePointer(
  lines: readonly ILine[],
  axes: readonly ICoordinate[],
  places: IPlaces
): { dragged: IDragged | null; handlers: Record<string, (event: PointerEvent<HTMLElement>) => void> } {
  const bench = useBench();
  const { select } = useScene();
  const [dragged, setDragged] = useState<IDragged | null>(null);
  const from = useRef<{ axis: number; y: number; moved: boolean } | null>(null);
  const at = (event: PointerEvent<HTMLElement>): [number, number] => {
    const box = event.currentTarget.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const shareOf = (y: number): number => (places.bottom - y) / (places.bottom - places.top);
  const under = (place: [number, number]): string => nearestLine(lines, places, place, NEAR_PX)?.row.key ?? '';
  const rangeOf = (axis: number, one: number, other: number): IRange | null => {
    const coordinate = axes[axis];
    return coordinate ? rangeBetween(coordinate, shareOf(one), shareOf(other)) : null;
  };
  const handlers = {
    onPointerDown: (event: PointerEvent<HTMLElement>): void => {
      if (event.button !== 0) {
        return;
      }
      const [x, y] = at(event);
      const axis = Math.round((x - places.left) / places.step);
      const near = axis in axes && Math.abs(x - places.left - axis * places.step) <= AXIS_PX;
      from.current = { axis: near ? axis : -1, y, moved: false };
      event.currentTarget.setPointerCapture(event.pointerId);
    },
    onPointerMove: (event: PointerEvent<HTMLElement>): void => {
      const place = at(event);
      const began = from.current;
      if (began && (began.moved || Math.abs(place[1] - began.y) > DRAG_PX)) {
        began.moved = true;
        if (began.axis >= 0) {
          setDragged({ axis: began.axis, range: rangeOf(began.axis, began.y, place[1]) });
        }
        return;
      }
      const key = under(place);
      if (key !== bench.store.getState().view.hovered) {
        bench.look({ hovered: key });
      }
    },
    onPointerUp: (event: PointerEvent<HTMLElement>): void => {
      const place = at(event);
      const began = from.current;
      from.current = null;
      setDragged(null);
      if (!began) {
        return;
      }
      const axis = axes[began.axis];
      if (began.moved && axis) {
        const { brush } = bench.store.getState().view;
        bench.look({ brush: withRange(brush, axis.measure.name, rangeOf(began.axis, began.y, place[1])) });
        return;
      }
      const key = began.moved ? '' : under(place);
      if (key) {
        select(event.shiftKey ? 'b' : 'a', key);
      }
    },
    onPointerCancel: (): void => {
      from.current = null;
      setDragged(null);
    }
  };
  return { dragged, handlers };
}
