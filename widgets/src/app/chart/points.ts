/** What the chart draws, as rows of the datasets that tradeoff_spec.py names. No drawing happens here. */

import { extent, limitText } from '../format';
import type { Interval } from '../protocol';
import type { IRow } from '../rows';
import { isHidden, isOutside } from '../tradeoff/filters';
import { band, type IBox, type IJudged, isStrong } from '../tradeoff/front';
import { type IMeasure, isPlotted, valueIn } from '../tradeoff/measures';
import type { IView } from '../view';
import { axisOf, ends, type IAxis, padded, place, scaleOf, steady, unplace, usual } from './axes';

export interface IPalette {
  /** By runtime. */
  runtimes: ReadonlyMap<string, string>;
  surface: string;
}

/** A candidate on the chart; positions are those of the axes. */
export interface IPoint {
  row: IRow;
  x: number;
  y: number;
  box: IBox;
  color: string;
  strong: boolean;
  dimmed: boolean;
}

export type Datum = Readonly<Record<string, unknown>> & { readonly key: string };
export type Datasets = Readonly<Record<string, readonly Datum[]>>;

export interface IDrawing {
  x: IAxis;
  y: IAxis;
  points: readonly IPoint[];
  byKey: ReadonlyMap<string, IPoint>;
  /** Outside of what the axes show. */
  off: readonly IRow[];
  data: Datasets;
}

export interface IScene {
  rows: Iterable<IRow>;
  judged: ReadonlyMap<string, IJudged>;
  measures: readonly IMeasure[];
  x: IMeasure;
  y: IMeasure;
  /** The limit on the change and its unit; null when it cannot be drawn. */
  limit: { value: number; unit: string } | null;
  palette: IPalette;
  /** Keys that must be seen. */
  must: readonly string[];
  view: Pick<IView, 'brush' | 'hiddenRuntimes' | 'hiddenFamilies' | 'frontOnly' | 'failedOnly' | 'zoom'>;
  /** The drawing before, whose axes are kept where they fit. */
  before: IDrawing | null;
}

/** From this many points on only the bars of the strong ones are drawn. */
const MANY = 300;
const FAINT = 0.32;
const DIMMED = 0.16;
/** From this share of the width on the baseline is at the right end. */
const LATE = 0.8;

interface IFound {
  row: IRow;
  x: Interval;
  y: Interval;
}

export function drawingOf(scene: IScene): IDrawing {
  const found = plotted(scene);
  const strong = new Set(found.filter(({ row }) => isStrong(scene.judged.get(row.key))).map(({ row }) => row.key));
  const x = theAxis(scene, found, strong, true);
  const y = theAxis(scene, found, strong, false);
  const points: IPoint[] = [];
  const off: IRow[] = [];
  for (const { row, x: across, y: up } of found) {
    const [atX, atY] = [place(x, across[0]), place(y, up[0])];
    if (atX < x.low || atX > x.high || atY < y.low || atY > y.high) {
      off.push(row);
      continue;
    }
    const [xLow, xHigh] = ends(x, across);
    const [yLow, yHigh] = ends(y, up);
    const color = scene.palette.runtimes.get(row.runtime) ?? '#888888';
    const dimmed = scene.view.brush.length > 0 && isOutside(row, scene.view.brush, scene.measures);
    const box = { xLow, xHigh, yLow, yHigh };
    points.push({ row, x: atX, y: atY, box, color, strong: strong.has(row.key), dimmed });
  }
  const data = {
    ...points2data(points, scene.palette.surface, x, y),
    ...ground(scene, found, strong, x, y)
  };
  return { x, y, points, byKey: new Map(points.map(point => [point.row.key, point])), off, data };
}

function plotted(scene: IScene): IFound[] {
  const found: IFound[] = [];
  for (const row of scene.rows) {
    const [x, y] = [valueIn(row, scene.x), valueIn(row, scene.y)];
    if (x && y && isPlotted(row) && !isHidden(row, scene.view, scene.judged.get(row.key))) {
      found.push({ row, x, y });
    }
  }
  return found;
}

function theAxis(scene: IScene, found: readonly IFound[], strong: ReadonlySet<string>, across: boolean): IAxis {
  const measure = across ? scene.x : scene.y;
  const of = (item: IFound): Interval => (across ? item.x : item.y);
  const scale = scaleOf(measure, found.map(item => of(item)[0]), across); // biome-ignore format: short
  const at = (item: IFound): number => place(scale, of(item)[0]);
  const seen = found.filter(({ row }) => scene.view.zoom !== 'front' || strong.has(row.key));
  const all = seen.map(at);
  const must = must2(scene, measure, scale);
  // The front and what is selected are seen whatever their place, unless a hopeless one would squeeze all others.
  const held = seen.filter(
    ({ row }) => row.isBaseline || scene.must.includes(row.key) || (across && strong.has(row.key))
  );
  const before = across ? scene.before?.x : scene.before?.y;
  const kept = before?.measure.name === measure.name && before.log === scale.log ? before : null;
  if (all.length === 0) {
    const [low, high] = kept ? [kept.low, kept.high] : scale.log ? [-1, 1] : [0, 1];
    return axisOf(measure, scale, [low, high], across);
  }
  const stretch =
    scene.view.zoom === 'usual'
      ? usual(all, [...must, ...held.map(at)])
      : padded(...extent([...all, ...(scene.view.zoom === 'all' ? must : must.slice(0, 1))]));
  return axisOf(measure, scale, scene.view.zoom === 'usual' && kept ? steady([kept.low, kept.high], stretch) : stretch, across); // biome-ignore format: short
}

/** Zero is always in view where changes are shown, and so is the limit. */
function must2(scene: IScene, measure: IMeasure, scale: Pick<IAxis, 'log' | 'sign'>): number[] {
  if (measure.name !== 'change') {
    return [];
  }
  return [0, ...(scene.limit ? [place(scale, 1.25 * scene.limit.value)] : [])];
}

function points2data(points: readonly IPoint[], surface: string, across: IAxis, up: IAxis): Datasets {
  const [weak, strong, bars, rings]: Datum[][] = [[], [], [], []];
  const leaving: Datum[] = [];
  const many = points.length > MANY;
  for (const point of points) {
    const { row, x, y, color } = point;
    const { key } = row;
    const opacity = point.dimmed ? DIMMED : 1;
    const noisy = row.badges.includes('noisy');
    const fill = point.strong ? color : surface;
    (point.strong ? strong : weak)?.push({ key, x, y, mark: row.mark, color, fill, opacity });
    if (point.strong || noisy || !many) {
      const faint = (point.strong || noisy ? 0.9 : FAINT) * opacity;
      bars?.push({ key, x, y, ...point.box, color, opacity: faint });
      leaving.push(...leavingOf(point, across, up).map(mark => ({ ...mark, color, opacity: faint })));
    }
    if (noisy) {
      rings?.push({ key, x, y, color, opacity });
    }
  }
  return { weak: weak ?? [], strong: strong ?? [], bars: bars ?? [], rings: rings ?? [], leaving };
}

/** A mark at the edge for each end of a point's bars that is outside of the chart. */
function leavingOf(
  { row, x, y, box }: IPoint,
  across: IAxis,
  up: IAxis
): { key: string; x: number; y: number; shape: string }[] {
  const ends: [boolean, number, number, string][] = [
    [box.xLow < across.low, across.low, y, 'left'],
    [box.xHigh > across.high, across.high, y, 'right'],
    [box.yLow < up.low, x, up.low, 'down'],
    [box.yHigh > up.high, x, up.high, 'up']
  ];
  return ends.flatMap(([out, atX, atY, side]) =>
    out ? [{ key: `${row.key} ${side}`, x: atX, y: atY, shape: `triangle-${side}` }] : []
  );
}

/** Band, baseline, limit. */
function ground(scene: IScene, found: readonly IFound[], strong: ReadonlySet<string>, x: IAxis, y: IAxis): Datasets {
  // Far outside, so that a clipped mark ends with the chart.
  const wide = x.high - x.low;
  const high = y.high - y.low;
  const boxes: IBox[] = [];
  const baseline = found.find(({ row }) => row.isBaseline);
  const device = (baseline ?? found[0])?.row.device; // the band is that of one front, and each device has its own
  for (const item of found) {
    if (
      item.row.device === device &&
      strong.has(item.row.key) &&
      item.row.compared &&
      !item.row.badges.includes('inconclusive')
    ) {
      const [xLow, xHigh] = ends(x, item.x);
      const [yLow, yHigh] = ends(y, item.y);
      boxes.push({ xLow, xHigh, yLow, yHigh });
    }
  }
  const steps = band(boxes, x.high + wide, y.low - high);
  const rules: Datum[] = [];
  if (baseline) {
    const at = place(x, baseline.x[0]);
    const level = place(y, baseline.y[0]);
    rules.push({ key: 'across', x: x.low, x2: x.high, y: level, y2: level, text: '', textBefore: '' });
    // Near the right end its word stands on the left of the line, or it would be cut.
    const words =
      at > x.low + LATE * wide ? { text: '', textBefore: 'baseline' } : { text: 'baseline', textBefore: '' };
    rules.push({ key: 'up', x: at, x2: at, y: y.low, y2: y.high, ...words });
  }
  return {
    band: steps.map((step, at) => ({ key: String(at), ...step })),
    rules,
    ...limitOf(scene, x, y, baseline ? place(x, baseline.x[0]) : null)
  };
}

function limitOf({ limit }: IScene, x: IAxis, y: IAxis, baseline: number | null): Datasets {
  if (limit === null || (x.measure.name !== 'change' && y.measure.name !== 'change')) {
    return { limits: [], forbidden: [] };
  }
  const text = `your limit, ${limitText(limit.value)} ${limit.unit}`;
  if (y.measure.name === 'change') {
    const at = place(y, limit.value);
    // Its words stand at the right end, but not where the baseline's line would cross them.
    const met = baseline !== null && baseline > (x.low + x.high) / 2;
    const words = met ? { text: '', textStart: text } : { text, textStart: '' };
    return {
      limits: [{ key: 'limit', x: x.low, x2: x.high, y: at, y2: at, ...words }],
      forbidden: at > y.low ? [{ key: 'limit', x: x.low, x2: x.high, y: y.low, y2: Math.min(at, y.high) }] : []
    };
  }
  const at = place(x, limit.value);
  return {
    limits: [{ key: 'limit', x: at, x2: at, y: y.high, y2: y.low, text, textStart: '' }],
    forbidden: at < x.high ? [{ key: 'limit', x: Math.max(at, x.low), x2: x.high, y: y.low, y2: y.high }] : []
  };
}

/** Rings, letters and bars of what is selected or pointed at. */
export function marksOf(drawing: IDrawing, a: string, b: string, hovered: string): Datasets {
  const marks: Datum[] = [];
  const pointed: Datum[] = [];
  const add = (key: string, size: number, text: string): void => {
    const point = drawing.byKey.get(key);
    if (point) {
      marks.push({ key: text || 'hovered', x: point.x, y: point.y, size, text });
      pointed.push({ key, x: point.x, y: point.y, ...point.box, color: point.color, opacity: 0.9 });
    }
  };
  add(a, 300, a === b ? 'A B' : 'A');
  if (b !== a) {
    add(b, 300, 'B');
  }
  if (hovered !== a && hovered !== b) {
    add(hovered, 190, '');
  }
  return { marks, pointed };
}

/** Where a position of the axes is, in pixels of the plot. */
export interface IPlot {
  width: number;
  height: number;
}

export function pixel(drawing: IDrawing, plot: IPlot, point: { x: number; y: number }): [number, number] {
  const { x, y } = drawing;
  return [
    ((point.x - x.low) / (x.high - x.low)) * plot.width,
    (1 - (point.y - y.low) / (y.high - y.low)) * plot.height
  ];
}

/** The nearest point to a place of the plot, within some pixels. */
export function nearest(drawing: IDrawing, plot: IPlot, at: [number, number], within: number): IPoint | null {
  let best: IPoint | null = null;
  let closest = within ** 2;
  for (const point of drawing.points) {
    const [x, y] = pixel(drawing, plot, point);
    const distance = (x - at[0]) ** 2 + (y - at[1]) ** 2;
    // Of points at one place the strong one is on top.
    if (distance < closest || (distance === closest && best !== null && point.strong && !best.strong)) {
      best = point;
      closest = distance;
    }
  }
  return best;
}

/** Values between two pixels of an axis, the smaller one first. */
export function valuesBetween(axis: IAxis, from: number, to: number): [number, number] {
  const span = axis.high - axis.low;
  const [one, other] = [unplace(axis, axis.low + from * span), unplace(axis, axis.low + to * span)];
  return one <= other ? [one, other] : [other, one];
}
