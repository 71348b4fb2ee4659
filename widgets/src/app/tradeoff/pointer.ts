/** The pointer over the chart: nearest point, click, brush; and the card, which stays while the pointer is in it. */

import { type PointerEvent, type RefObject, useCallback, useEffect, useRef, useState } from 'react';
import { useBench } from '../store';
import type { IRange } from '../view';
import { plotOf } from './chart';
import { ROOM } from './live';
import { type IDrawing, nearest, valuesBetween } from './points';
import { useScene } from './scene';

const NEAR_PX = 20;
/** Movements below this are clicks. */
const DRAG_PX = 4;
/** Time to get from a point to its card. */
const LEAVE_MS = 180;

export interface IDragged {
  left: number;
  top: number;
  width: number;
  height: number;
}

interface IPointer {
  handlers: Record<string, (event: PointerEvent<HTMLElement>) => void>;
  /** Key of the candidate whose card is open. */
  card: string;
  dragged: IDragged | null;
  show(key: string): void;
  hold(): void;
  release(): void;
  close(): void;
}

export function usePointer(
  over: RefObject<HTMLElement>,
  drawing: IDrawing,
  size: { width: number; height: number }
): IPointer {
  const bench = useBench();
  const { select } = useScene();
  const [card, setCard] = useState('');
  const [dragged, setDragged] = useState<IDragged | null>(null);
  const from = useRef<[number, number] | null>(null);
  const timer = useRef(0);
  const hold = useCallback(() => window.clearTimeout(timer.current), []);
  const show = useCallback(
    (key: string) => {
      hold();
      setCard(key);
      bench.look({ hovered: key });
    },
    [bench, hold]
  );
  const close = useCallback(() => show(''), [show]);
  const release = useCallback(() => {
    hold();
    timer.current = window.setTimeout(close, LEAVE_MS);
  }, [hold, close]);
  useEffect(() => hold, [hold]);

  const at = (event: PointerEvent<HTMLElement>): [number, number] => {
    const box = over.current?.getBoundingClientRect();
    return [event.clientX - (box?.left ?? 0), event.clientY - (box?.top ?? 0)];
  };
  const under = (place: [number, number]): string =>
    nearest(drawing, plotOf(size), [place[0] - ROOM.left, place[1] - ROOM.top], NEAR_PX)?.row.key ?? '';

  const onPointerDown = (event: PointerEvent<HTMLElement>): void => {
    if (event.button === 0) {
      from.current = at(event);
      over.current?.setPointerCapture(event.pointerId);
    }
  };
  const onPointerMove = (event: PointerEvent<HTMLElement>): void => {
    const place = at(event);
    const box = from.current && boxOf(from.current, place, size);
    if (box && (dragged || box.width > DRAG_PX || box.height > DRAG_PX)) {
      setDragged(box);
      if (card) {
        close();
      }
      return;
    }
    const key = under(place);
    if (key && key !== card) {
      show(key);
    } else if (key) {
      hold();
    } else if (card) {
      release();
    }
  };
  const onPointerUp = (event: PointerEvent<HTMLElement>): void => {
    const began = from.current;
    from.current = null;
    setDragged(null);
    if (dragged) {
      bench.look({ brush: rangesOf(drawing, dragged, size) });
      return;
    }
    const key = began ? under(at(event)) : '';
    if (key) {
      select(event.shiftKey ? 'b' : 'a', key);
    }
  };
  const onPointerCancel = (): void => {
    from.current = null;
    setDragged(null);
  };
  const handlers = { onPointerDown, onPointerMove, onPointerUp, onPointerCancel, onPointerLeave: release };
  return { handlers, card, dragged, show, hold, release, close };
}

/** Between two corners, inside the plot. */
function boxOf(one: [number, number], other: [number, number], size: { width: number; height: number }): IDragged {
  const inX = (value: number): number => Math.min(size.width - ROOM.right, Math.max(ROOM.left, value));
  const inY = (value: number): number => Math.min(size.height - ROOM.bottom, Math.max(ROOM.top, value));
  const [left, right] = [inX(Math.min(one[0], other[0])), inX(Math.max(one[0], other[0]))];
  const [top, bottom] = [inY(Math.min(one[1], other[1])), inY(Math.max(one[1], other[1]))];
  return { left, top, width: right - left, height: bottom - top };
}

function rangesOf(drawing: IDrawing, box: IDragged, size: { width: number; height: number }): IRange[] {
  const plot = plotOf(size);
  const left = (box.left - ROOM.left) / plot.width;
  const bottom = 1 - (box.top + box.height - ROOM.top) / plot.height;
  const [xLow, xHigh] = valuesBetween(drawing.x, left, left + box.width / plot.width);
  const [yLow, yHigh] = valuesBetween(drawing.y, bottom, bottom + box.height / plot.height);
  return [
    { measure: drawing.x.measure.name, low: xLow, high: xHigh },
    { measure: drawing.y.measure.name, low: yLow, high: yHigh }
  ];
}
