/** The pointer over the chart: nearest point, click, brush; and the card, which stays while the pointer is in it. */

import { type PointerEvent, type RefObject, useCallback, useEffect, useRef, useState } from 'react';
import { useBench } from '../store';
import { useScene } from '../tradeoff/scene';
import { boxOf, type IBox, isDrag, rangesOf } from './brush';
import { NEAR_PX, plotOf, ROOM } from './live';
import { type IDrawing, nearest } from './points';

/** Resting this long opens a card, so that none gets in the way of a pointer that is on its way. */
const REST_MS = 120;
/** Time to get from a point to its card. */
const LEAVE_MS = 180;

interface IPointer {
  handlers: Record<string, (event: PointerEvent<HTMLElement>) => void>;
  /** Key of the candidate whose card is open. */
  card: string;
  dragged: IBox | null;
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
  const [dragged, setDragged] = useState<IBox | null>(null);
  const from = useRef<[number, number] | null>(null);
  /** Whether the pointer has moved too far for a click. A quick one is up again before anything is drawn. */
  const moved = useRef(false);
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
      moved.current = false;
      hold(); // a card that was about to open would be in the way
      over.current?.setPointerCapture(event.pointerId);
    }
  };
  const onPointerMove = (event: PointerEvent<HTMLElement>): void => {
    const place = at(event);
    const box = from.current && boxOf(from.current, place, size);
    if (box && (moved.current || isDrag(box))) {
      moved.current = true;
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
    const place = at(event);
    from.current = null;
    setDragged(null);
    const box = began && boxOf(began, place, size);
    if (box && (moved.current || isDrag(box))) {
      const brush = rangesOf(drawing, box, size);
      if (brush.length > 0) {
        bench.look({ brush });
      }
      return;
    }
    const key = began ? under(place) : '';
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
