/** Ranges that are dragged over in the chart: from pixels to values, and back to where they are shown. */

import type { IRange } from '../view';
import { type IAxis, place } from './axes';
import { plotOf, ROOM } from './live';
import { type IDrawing, valuesBetween } from './points';

/** Movements below this are clicks, and sides of a box below this mean nothing. */
const DRAG_PX = 4;

export interface IBox {
  left: number;
  top: number;
  width: number;
  height: number;
}

interface IRoom {
  width: number;
  height: number;
}

/** Between two corners, inside the plot. */
export function boxOf(one: readonly [number, number], other: readonly [number, number], size: IRoom): IBox {
  const inX = (value: number): number => Math.min(size.width - ROOM.right, Math.max(ROOM.left, value));
  const inY = (value: number): number => Math.min(size.height - ROOM.bottom, Math.max(ROOM.top, value));
  const [left, right] = [inX(Math.min(one[0], other[0])), inX(Math.max(one[0], other[0]))];
  const [top, bottom] = [inY(Math.min(one[1], other[1])), inY(Math.max(one[1], other[1]))];
  return { left, top, width: right - left, height: bottom - top };
}

export function isDrag(box: IBox): boolean {
  return box.width > DRAG_PX || box.height > DRAG_PX;
}

/** The values in a box; an axis without a drag has no range. */
export function rangesOf(drawing: IDrawing, box: IBox, size: IRoom): IRange[] {
  const { width, height } = plotOf(size);
  const left = (box.left - ROOM.left) / width;
  const bottom = 1 - (box.top + box.height - ROOM.top) / height;
  const found: IRange[] = [];
  if (box.width > DRAG_PX) {
    found.push(rangeOf(drawing.x, left, left + box.width / width));
  }
  if (box.height > DRAG_PX) {
    found.push(rangeOf(drawing.y, bottom, bottom + box.height / height));
  }
  return found;
}

function rangeOf(axis: IAxis, from: number, to: number): IRange {
  const [low, high] = valuesBetween(axis, from, to);
  return { measure: axis.measure.name, low, high };
}

/** Where ranges are shown, as CSS; null when they are about neither of the axes. */
export function brushed(
  drawing: IDrawing,
  brush: readonly IRange[]
): { left: string; right: string; top: string; bottom: string } | null {
  const [x, y] = [drawing.x, drawing.y].map(axis => {
    const range = brush.find(({ measure }) => measure === axis.measure.name);
    return range && stretchOf(axis, range);
  });
  if (!x && !y) {
    return null;
  }
  const [left, right] = x ?? [0, 1];
  const [bottom, top] = y ?? [0, 1];
  return {
    left: inside(left, ROOM.left, ROOM.right),
    right: inside(1 - right, ROOM.right, ROOM.left),
    top: inside(1 - top, ROOM.top, ROOM.bottom),
    bottom: inside(bottom, ROOM.bottom, ROOM.top)
  };
}

/** A share of the plot as a distance from one end of the chart, with the room at that end and at the other one. */
function inside(share: number, near: number, far: number): string {
  return `calc(${near}px + (100% - ${near + far}px) * ${share.toFixed(5)})`;
}

/** Shares of an axis between two values, the smaller one first. */
function stretchOf(axis: IAxis, { low, high }: IRange): [number, number] {
  const at = (value: number): number =>
    Math.min(1, Math.max(0, (place(axis, value) - axis.low) / (axis.high - axis.low)));
  const [one, other] = [at(low), at(high)];
  return one <= other ? [one, other] : [other, one];
}
