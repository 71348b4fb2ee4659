/** The pointer over the chart: nearest point, click, brush; and the card, which stays while the pointer is in it. */

import { type PointerEvent, type RefObject, useCallback, useEffect, useRef, useState } from 'react';
import { useBench } from '../store';
import type { IRange } from '../view';
import { plotOf } from './chart';
import { ROOM } from './live';
import { type IDrawing, nearest, valuesBetween } from './points';
import { useScene } from './scene';

/** A point is pointed at from this far. */
export const NEAR_PX = 20;
/** Movements below this are clicks. */
const DRAG_PX = 4;
/** Resting this long opens a card, so that none gets in the way of a pointer that is on its way. */
const REST_MS = 120;
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
  /** The pointer has come into the card, or left it. */
  enter(): void;
  leave(): void;
  /** The focus has left the chart. */
  blur(): void;
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
  /** Key of the point under the pointer. */
  const pointed = useRef('');
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
  const inCard = useRef(false);
  const enter = useCallback(() => {
    inCard.current = true;
    hold();
  }, [hold]);
  const leave = useCallback(() => {
    inCard.current = false;
    release();
  }, [release]);
  const blur = useCallback(() => {
    if (!inCard.current) {
      release();
    }
  }, [release]);
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
    if (key !== pointed.current) {
      pointed.current = key;
      hold();
      bench.look({ hovered: key || card });
      if (key && key !== card) {
        timer.current = window.setTimeout(() => show(key), REST_MS);
      } else if (!key) {
        release();
      }
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
      setCard('');
      hold();
    }
  };
  const onPointerLeave = (): void => {
    pointed.current = '';
    release();
  };
  const onPointerCancel = (): void => {
    from.current = null;
    setDragged(null);
  };
  const handlers = { onPointerDown, onPointerMove, onPointerUp, onPointerCancel, onPointerLeave };
  return { handlers, card, dragged, show, enter, leave, blur, close };
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
