/** Lines in a canvas: thousands of them in a few milliseconds. */

import type { ITheme } from '../tradeoff/theme';
import { type ILine, type IPlaces, yOf } from './coordinates';

const FAINT = 0.32;
const DIMMED = 0.08;

interface IMarks {
  a: string;
  b: string;
  hovered: string;
}

export function drawLines(
  canvas: HTMLCanvasElement,
  lines: readonly ILine[],
  places: IPlaces,
  { width, height }: { width: number; height: number },
  theme: ITheme,
  marks: IMarks
): void {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext('2d');
  if (!pen) {
    return;
  }
  pen.scale(ratio, ratio);
  pen.lineJoin = 'round';
  const special = new Set([marks.a, marks.b, marks.hovered]);
  const draw = (line: ILine, color: string, width: number, opacity: number, dash: number[] = []): void => {
    pen.beginPath();
    line.at.forEach((at, axis) => {
      pen.lineTo(places.left + axis * places.step, yOf(places, at));
    });
    pen.setLineDash(dash);
    pen.strokeStyle = color;
    pen.lineWidth = width;
    pen.globalAlpha = opacity;
    pen.stroke();
  };
  const rank = (line: ILine): number => (line.dimmed ? 0 : line.strong ? 2 : 1);
  for (const line of [...lines].sort((one, other) => rank(one) - rank(other))) {
    if (!special.has(line.row.key)) {
      draw(line, line.color, 1.3, line.dimmed ? DIMMED : line.strong ? 0.9 : FAINT);
    }
  }
  const byKey = new Map(lines.map(line => [line.row.key, line]));
  for (const [key, width, dash] of [
    [marks.hovered, 2.4, []],
    [marks.b, 3, [7, 4]],
    [marks.a, 3, []]
  ] as const) {
    const line = byKey.get(key);
    if (line) {
      draw(line, key === marks.hovered ? line.color : theme.ink, width, 1, [...dash]);
    }
  }
}
