/** How the table is laid out in the room it has: with intervals, without, or in two lines a row. */

import { type RefObject, useEffect, useState } from 'react';
import type { IRow } from '../rows';
import { type IColumn, lengthOf, measured, USUAL } from './columns';

/** The boxes; least room for a candidate's name, place and badges; what a cell has around its text. */
const BOXES_PX = 40;
const NAME_PX = 220;
const AROUND_PX = 12;
/** The table's own room at the right of its rows, and that of a bar to scroll with. */
const EDGE_PX = 24;
/** Least width of a number where rows have two lines. */
const NUMBER_PX = 58;
/** Letters of titles are bold, and wider than digits; beside the title of the order is an arrow; both in digits. */
const BOLD = 1.15;
const ARROW = 1.8;
/** Of a digit, before the font is known. */
const USUAL_DIGIT_PX = 7;

export interface IRoom {
  /** Widths of all columns, as CSS. */
  template: string;
  /** Whether intervals are in sight; where they are not, they are titles. */
  intervals: boolean;
  /** Lines of a row: the name has one of its own where there are two. */
  lines: 1 | 2;
}

/** Width of a column of numbers in digits. */
export function digitsOf(column: IColumn, rows: readonly IRow[], intervals: boolean, isSorted = false): number {
  let longest = BOLD * lengthOf(column.title) + (isSorted ? ARROW : 0);
  for (const row of measured(column, rows)) {
    const { value, around } = column.cell(row);
    longest = Math.max(longest, lengthOf(around && intervals ? `${value} ${around}` : value));
  }
  return longest;
}

/**
 * The layout that shows most in a width; the candidate's column has at least 220 pixels in each.
 *
 * @param columns The name first.
 * @param width Of the table in pixels; 0 when it is not known.
 * @param digit Width of a digit in pixels.
 * @param sort Name of the column that gives the order.
 */
export function roomFor(
  columns: readonly IColumn[],
  rows: readonly IRow[],
  { width, digit, sort = '' }: { width: number; digit: number; sort?: string }
): IRoom {
  const numbers = columns.slice(1);
  for (const intervals of [true, false]) {
    const digits = numbers.map(column => digitsOf(column, rows, intervals, column.name === sort));
    // What is there beside the usual columns was asked for, and is worth scrolling for.
    const must = intervals ? digits : digits.slice(0, USUAL.length);
    const needed = must.reduce((sum, count) => sum + count * digit + AROUND_PX, BOXES_PX + NAME_PX + EDGE_PX);
    if (width === 0 || needed <= width) {
      const widths = digits.map(count => `calc(${count.toFixed(1)}ch + ${AROUND_PX}px)`);
      return { template: [`${BOXES_PX}px`, `minmax(${NAME_PX}px, 1fr)`, ...widths].join(' '), intervals, lines: 1 };
    }
  }
  const template = `${BOXES_PX}px repeat(${Math.max(1, numbers.length)}, minmax(${NUMBER_PX}px, 1fr))`;
  return { template, intervals: false, lines: 2 };
}

/** Width of an element and of a digit in it, in pixels; 0 before they are known. */
export function useWidth(ref: RefObject<HTMLElement>): { width: number; digit: number } {
  const [size, setSize] = useState({ width: 0, digit: USUAL_DIGIT_PX });
  useEffect(() => {
    const element = ref.current;
    if (element === null || typeof ResizeObserver === 'undefined') {
      return;
    }
    const observer = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width > 0) {
        setSize(old => (old.width === width ? old : { width, digit: digitIn(element) }));
      }
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [ref]);
  return size;
}

function digitIn(element: HTMLElement): number {
  const probe = document.createElement('span');
  probe.style.cssText = 'position:absolute;visibility:hidden;width:100ch';
  element.append(probe);
  const width = probe.getBoundingClientRect().width / 100;
  probe.remove();
  return width || USUAL_DIGIT_PX;
}
