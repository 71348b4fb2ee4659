/** Line icons, 14 px, in the color of the text. */

import type { ReactElement } from 'react';

const PATHS = {
  check: 'M3 8.5l3.2 3.2L13 5',
  close: 'M4 4l8 8M12 4l-8 8',
  pause: 'M6 4v8M10 4v8',
  play: 'M5 3.5v9l7-4.5Z',
  code: 'M5.5 4.5L2 8l3.5 3.5M10.5 4.5L14 8l-3.5 3.5',
  open: 'M9 3h4v4M13 3L8 8M7 4H3v9h9V9',
  down: 'M4 6l4 4 4-4',
  up: 'M4 10l4-4 4 4',
  right: 'M6 4l4 4-4 4',
  copy: 'M5.5 5.5H13V13H5.5ZM3 10V3.8A.8.8 0 013.8 3H10',
  graph: 'M8 2v3M8 5L4 11M8 5l4 6M4 11v2.5M12 11v2.5',
  folder: 'M2 4.5h4l1.5 2H14v6.5H2Z',
  file: 'M4 2h5l3 3v9H4ZM9 2v3h3',
  warning: 'M8 2.5l6 11H2ZM8 6.5v3.2M8 11.6v.4',
  info: 'M8 2.5a5.5 5.5 0 110 11a5.5 5.5 0 110-11ZM8 7.2v3.8M8 5v.3',
  question: 'M8 2.5a5.5 5.5 0 110 11a5.5 5.5 0 110-11ZM6.4 6.4a1.7 1.7 0 113 1.1c-.7.5-1.4.8-1.4 1.7M8 11v.2',
  stop: 'M4.5 4.5h7v7h-7Z',
  noise: 'M1.5 8h2l1.5-4 2.5 8 2.5-8 1.5 4h3',
  clock: 'M8 2.5a5.5 5.5 0 110 11a5.5 5.5 0 110-11ZM8 5v3.2l2 1.4'
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }): ReactElement {
  return (
    <svg className="dk-icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

const CROSS = 'M4.5 1h3v3.5H11v3H7.5V11h-3V7.5H1v-3h3.5Z';

/** Marks of points by their names in Vega, as the chart draws them, in a box from 0 to 12. */
const OUTLINES: Record<string, string> = {
  circle: 'M6 1.8a4.2 4.2 0 110 8.4a4.2 4.2 0 110-8.4Z',
  square: 'M2 2h8v8H2Z',
  cross: CROSS,
  diamond: 'M6 .8L11.2 6 6 11.2.8 6Z',
  'triangle-up': 'M6 1.6L10.6 10H1.4Z',
  'triangle-down': 'M6 10.4L1.4 2H10.6Z',
  'triangle-left': 'M1.6 6L10 1.4V10.6Z',
  'triangle-right': 'M10.4 6L2 10.6V1.4Z'
};

/** The outline of a mark, in a box from 0 to 12. */
export function outlineOf(mark: string): string {
  return OUTLINES[mark] ?? CROSS;
}

/** The mark of a candidate. */
export function Glyph({ mark, color, filled }: { mark: string; color: number | null; filled: boolean }): ReactElement {
  const paint = color === null ? 'var(--dk-muted)' : `var(--dk-c${color})`;
  return (
    <svg className="dk-glyph" viewBox="0 0 12 12" aria-hidden="true" fill={filled ? paint : 'none'} stroke={paint}>
      <path d={outlineOf(mark)} />
    </svg>
  );
}
