/** Parallel coordinates: a line for each candidate over its settings and what was measured of it. */

import { type ReactElement, useEffect, useId, useMemo, useRef, useState } from 'react';
import { Note } from '../elements/parts';
import { extent, plural } from '../format';
import { useBench, useView } from '../store';
import { useWidth } from '../table/room';
import { measuresOf } from '../tradeoff/measures';
import { useScene } from '../tradeoff/scene';
import { useTheme } from '../tradeoff/theme';
import type { IRange } from '../view';
import {
  coordinatesOf,
  type ICoordinate,
  type ILine,
  type IPlaces,
  linesOf,
  position,
  rangeOn,
  UNUSED,
  yOf
} from './coordinates';
import { useKeys } from './keys';
import { drawLines } from './lines';
import { usePointer } from './pointer';

/** Measured axes that are always there; those of the chart come beside them. */
const MEASURED = ['change', 'latency', 'size'];
const HEIGHT_PX = 344;
const TOP_PX = 56;
const BOTTOM_PX = 46;
const LEFT_PX = 14;
/** Least room between two axes; with less the view scrolls. */
const LEAST_PX = 80;

/** The lines, once there is an axis for them. */
export function Parallel(): ReactElement {
  const { rows, tradeoff, x, y } = useScene();
  const axes = useMemo(() => {
    const measured = [...new Set([...MEASURED, y.name, x.name])];
    const found = measured.flatMap(name => tradeoff.measures.find(measure => measure.name === name) ?? []);
    return coordinatesOf(rows.values(), [...tradeoff.settings, ...found]);
  }, [rows, tradeoff.measures, tradeoff.settings, x, y]);
  if (axes.length === 0) {
    return <Note>No candidate has been measured yet.</Note>;
  }
  return <Drawn axes={axes} />;
}

function Drawn({ axes }: { axes: readonly ICoordinate[] }): ReactElement {
  const bench = useBench();
  const theme = useTheme();
  const { rows, judged, tradeoff, a, b, colorOf } = useScene();
  const brush = useView(view => view.brush);
  const hiddenRuntimes = useView(view => view.hiddenRuntimes);
  const hiddenFamilies = useView(view => view.hiddenFamilies);
  const frontOnly = useView(view => view.frontOnly);
  const hovered = useView(view => view.hovered);
  const outer = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width: room } = useWidth(outer);
  const id = useId();
  const lines = useMemo(
    () =>
      linesOf(axes, {
        rows: rows.values(),
        judged,
        measures: measuresOf(tradeoff),
        colorOf: runtime => theme.palette[colorOf(runtime)] ?? '#888888',
        view: { brush, hiddenRuntimes, hiddenFamilies, frontOnly, failedOnly: false }
      }),
    [axes, rows, judged, tradeoff, theme, colorOf, brush, hiddenRuntimes, hiddenFamilies, frontOnly]
  );
  const width = Math.max(room, LEAST_PX * axes.length);
  const places = useMemo<IPlaces>(() => {
    const step = (width - LEFT_PX) / Math.max(1, axes.length); // words are right of their axis, the last one's too
    return { left: LEFT_PX, step, top: TOP_PX, bottom: HEIGHT_PX - BOTTOM_PX };
  }, [width, axes.length]);
  useEffect(() => {
    if (canvas.current && room > 0) {
      drawLines(canvas.current, lines, places, { width, height: HEIGHT_PX }, theme, { a, b, hovered });
    }
  }, [lines, places, room, width, theme, a, b, hovered]);
  const [axis, setAxis] = useState(0);
  const pointer = usePointer(lines, axes, places);
  const keys = useKeys(lines, axes, axis, setAxis);
  const row = rows.get(hovered);
  return (
    <div className="dk-parallel">
      <div ref={outer} className="dk-parallel-scroll" onPointerLeave={() => bench.look({ hovered: '' })}>
        <div
          className="dk-parallel-plot"
          style={{ width, height: HEIGHT_PX }}
          role="application"
          aria-roledescription="parallel coordinates"
          aria-label={summary(lines, axes)}
          aria-describedby={id}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: it is walked with arrow keys
          tabIndex={0}
          onKeyDown={keys}
          {...pointer.handlers}
        >
          <div aria-hidden="true">
            <canvas ref={canvas} style={{ width, height: HEIGHT_PX }} />
          </div>
          {axes.map((one, at) => (
            <Axis
              key={one.measure.name}
              axis={one}
              x={places.left + at * places.step}
              places={places}
              current={at === axis}
              unused={lines.some(line => (line.at[at] ?? 0) < 0)}
              range={pointer.dragged?.axis === at ? pointer.dragged.range : rangeOn(brush, one)}
            />
          ))}
        </div>
      </div>
      <span id={id} className="dk-unseen">
        Left and Right choose an axis, and Up and Down move through the candidates by their value on it. The left and
        right brackets start and end a range there. Delete removes it, and 0 removes all ranges. A and B choose the
        candidate as A or B, and Enter opens it. The table below lists the same candidates with their settings.
      </span>
      <div className="dk-under">
        <span className="dk-soft">
          {row ? `${row.name} on ${row.where}` : 'Drag along an axis to filter; click a line for A, Shift+click for B.'}
        </span>
        <span className="dk-soft dk-under-actions">A: thick line. B: thick, dashed.</span>
      </div>
    </div>
  );
}

/** One axis: its title, its ticks in words, and the range that is selected on it. */
function Axis({
  axis,
  x,
  places,
  current,
  unused,
  range
}: {
  axis: ICoordinate;
  x: number;
  places: IPlaces;
  current: boolean;
  unused: boolean;
  range: IRange | null;
}): ReactElement {
  const { measure } = axis;
  const better = measure.better && measure.name !== 'change' ? ` ${measure.better} ↑` : '';
  const ends = range && extent([position(axis, range.low), position(axis, range.high)]);
  return (
    <div
      className={`dk-axis ${current ? 'dk-axis-at' : ''}`}
      style={{ left: x, width: places.step - 6 }}
      aria-hidden="true"
    >
      <span className="dk-axis-title">
        {measure.label}
        {measure.unit && `, ${measure.unit}`}
        {better}
      </span>
      <span className="dk-axis-line" style={{ top: places.top, height: places.bottom - places.top }} />
      {axis.ticks.map(({ at, label }) => (
        <span
          key={label}
          className={`dk-axis-tick ${measure.options?.length ? 'dk-axis-word' : ''}`}
          style={{ top: yOf(places, at) }}
        >
          {label}
        </span>
      ))}
      {unused && (
        <span className="dk-axis-tick dk-soft" style={{ top: yOf(places, UNUSED) }}>
          not used
        </span>
      )}
      {ends && (
        <span
          className="dk-axis-range"
          style={{
            top: yOf(places, Math.min(1, ends[1])),
            height: Math.max(3, yOf(places, Math.max(0, ends[0])) - yOf(places, Math.min(1, ends[1])))
          }}
        />
      )}
    </div>
  );
}

function summary(lines: readonly ILine[], axes: readonly ICoordinate[]): string {
  const shown = lines.filter(line => !line.dimmed).length;
  const titles = axes.map(({ measure }) => measure.label).join(', ');
  const of = shown === lines.length ? '' : ` of ${lines.length}`;
  return `Settings of ${shown}${of} ${plural(lines.length, 'candidate').replace(/^\S+ /, '')} as lines across ${titles}.`;
}
