import { describe, expect, it } from 'vitest';
import { axisOf, place, steady, unplace, usual } from '../../src/app/chart/axes';
import { boxOf, brushed, isDrag, rangesOf } from '../../src/app/chart/brush';
import { alongFront, atPlace } from '../../src/app/chart/keys';
import { patchOf } from '../../src/app/chart/live';
import { type Datum, drawingOf, type IScene, marksOf, nearest, pixel, valuesBetween } from '../../src/app/chart/points';
import type { Interval } from '../../src/app/protocol';
import type { IRow } from '../../src/app/rows';
import { columnsOf, rowAsText, sorted } from '../../src/app/table/columns';
import { digitsOf, roomFor } from '../../src/app/table/room';
import { chips, frameCode, isOutside } from '../../src/app/tradeoff/filters';
import { band, judge } from '../../src/app/tradeoff/front';
import { hasPoint, type IMeasure, knownOr } from '../../src/app/tradeoff/measures';
import { factsOf, spoken } from '../../src/app/tradeoff/words';
import { VIEW } from '../../src/app/view';
import { aRow } from '../rows';

const measure = (name: string, unit: string, higher = false): IMeasure => ({
  name,
  label: name,
  title: name,
  unit,
  higher,
  better: higher ? 'better' : 'faster'
});
const LATENCY = measure('latency', 'ms');
const CHANGE = measure('change', 'pp', true);
const SIZE = measure('size', 'kB');
const MEASURES = [CHANGE, LATENCY, SIZE, measure('metric:agreement', '%', true)];

function around(value: number, half: number): Interval {
  return [value, value - half, value + half];
}

function row(key: string, speed: number, change: number, more: Partial<IRow> = {}): IRow {
  return aRow({
    key,
    name: key,
    state: 'beaten',
    score: 0.9 + change / 100,
    scores: { agreement: 0.97 },
    change: around(change, 0.2),
    p50: around(0.25 / speed, 0.002),
    p90: 0.3,
    cpu: 0.2,
    speedup: around(speed, 0.05),
    size: 400_000,
    compressed: 300_000,
    memory: 2e7,
    agreement: 0.97,
    flips: 12,
    ...more
  });
}

const BASE = row('base', 1, 0, { isBaseline: true, state: 'front', size: 1_700_000, change: [0, 0, 0] });
const FAST = row('fast', 3, -0.5, { state: 'front', size: 450_000 });
const BEATEN = row('beaten', 2, -0.9, { size: 440_000 });
const FAILED = row('failed', 1, 0, { status: 'failed', p50: null, change: null, state: '' });
const ROWS = [BASE, FAST, BEATEN, FAILED];

function scene(rows: readonly IRow[], more: Partial<IScene> = {}): IScene {
  const [x, y] = [more.x ?? LATENCY, more.y ?? CHANGE];
  return {
    rows,
    judged: judge(rows, x, y),
    measures: MEASURES,
    x,
    y,
    limit: { value: -1, unit: 'pp' },
    palette: { runtimes: new Map([['litert', '#0f4c9c']]), surface: '#ffffff' },
    must: [],
    view: VIEW,
    before: null,
    ...more
  };
}

describe('the front', () => {
  it('is what the kernel says on the usual axes', () => {
    expect(judge(ROWS, LATENCY, CHANGE).get('beaten')?.state).toBe('beaten');
  });

  it('is found on other axes: sure on one, no worse by estimate on the other', () => {
    const rows = [BASE, FAST, BEATEN, row('alike', 1, -0.4, { size: 450_000 }), FAILED];
    const found = judge(rows, SIZE, CHANGE);
    expect([...found].map(([key, { state }]) => `${key} ${state}`)).toEqual([
      'failed ',
      'base front',
      'fast tied',
      'beaten front',
      'alike front'
    ]);
    const worse = judge([...rows, row('worse', 1, -2, { size: 450_000 })], SIZE, CHANGE).get('worse');
    expect(worse).toEqual({
      state: 'beaten',
      why: 'Beaten: beaten on LiteRT is better on size (95 % confidence) and no worse on the other axis.'
    });
  });

  it('belongs to one device: what is smallest on another beats nothing here', () => {
    const tiny = row('tiny', 9, 0, { size: 1000, device: 'cuda' });
    const found = judge([BASE, tiny, row('tinier', 9, 0.5, { size: 900, device: 'cuda' })], SIZE, CHANGE);
    expect(found.get('base')?.state).toBe('front');
    expect(found.get('tiny')?.state).toBe('beaten');
  });

  it('lies in a band from what is sure to what is possible', () => {
    const boxes = [
      { xLow: 1, xHigh: 2, yLow: 10, yHigh: 12 },
      { xLow: 3, xHigh: 4, yLow: 14, yHigh: 18 }
    ];
    expect(band(boxes, 9, 0)).toEqual([
      { x: 1, y: 12, y2: 0 },
      { x: 2, y: 12, y2: 10 },
      { x: 3, y: 18, y2: 10 },
      { x: 4, y: 18, y2: 14 },
      { x: 9, y: 18, y2: 14 }
    ]);
    expect(band([], 9, 0)).toEqual([]);
  });
});

describe('axes', () => {
  it('are logarithms with round ticks where costs span much', () => {
    const axis = axisOf(LATENCY, { log: true, sign: 1 }, [Math.log10(0.04), Math.log10(0.8)], true);
    expect(axis.labels).toEqual(['0.05', '0.07', '0.1', '0.2', '0.3', '0.5', '0.7']);
    expect(axis.title).toBe('latency (log scale)   ← faster');
  });

  it('have a minus sign and one number of decimals', () => {
    expect(axisOf(CHANGE, { log: false, sign: 1 }, [-1.2, 0.4], false).labels).toEqual(['−1.0', '−0.5', '0']);
  });

  it('have gaps between thousands, and none between decimals', () => {
    const labelsOf = (range: [number, number]): string[] =>
      axisOf(LATENCY, { log: false, sign: 1 }, range, true).labels;
    expect(labelsOf([0.0053, 0.0085])[0]).toBe('0.0055');
    expect(labelsOf([9000, 13000])).toContain('10\u2009000');
  });

  it('turn where the better end would be on the wrong side', () => {
    const axis = { log: true, sign: -1 as const };
    expect(unplace(axis, place(axis, 7))).toBeCloseTo(7);
    expect(place(axis, 7)).toBeLessThan(place(axis, 5));
  });

  it('leave out what is far away, but never what must be seen', () => {
    const many = Array.from({ length: 100 }, (_, at) => at / 100);
    expect(usual([...many, 50], [])[1]).toBeLessThan(2);
    expect(usual([...many, 50], [50])[1]).toBeGreaterThan(50);
    expect(usual([...many, 1.1], [])[1]).toBeGreaterThan(1.1);
  });

  it('do not jump with each new point', () => {
    expect(steady([0, 10], [0.5, 9.5])).toEqual([0, 10]);
    expect(steady([0, 10], [0.5, 11])).toEqual([0.5, 11]);
    expect(steady([0, 10], [4, 6])).toEqual([4, 6]);
  });
});

describe('the chart', () => {
  it('fills what is on the front, and leaves failed candidates out', () => {
    const { data, points, off } = drawingOf(scene(ROWS));
    expect(data.strong?.map(({ key }) => key)).toEqual(['base', 'fast']);
    expect(data.weak).toMatchObject([{ key: 'beaten', fill: '#ffffff', opacity: 1 }]);
    expect(points).toHaveLength(3);
    expect(off).toEqual([]);
  });

  it('draws the limit where losing begins, and tints what is beyond', () => {
    const { data, y } = drawingOf(scene(ROWS));
    expect(data.limits).toMatchObject([{ y: -1, textStart: 'your limit, −1.0 pp' }]);
    const quarter = drawingOf(scene(ROWS, { limit: { value: -0.25, unit: 'pp' } }));
    expect(quarter.data.limits).toMatchObject([{ y: -0.25, textStart: 'your limit, −0.25 pp' }]);
    expect(data.forbidden).toMatchObject([{ y: y.low, y2: -1 }]);
    expect(y.low).toBeLessThan(-1);
    expect(drawingOf(scene(ROWS, { y: measure('metric:agreement', '%', true) })).data.limits).toEqual([]);
  });

  it('has up for better when errors are what is compared', () => {
    const error = measure('change', '%', false);
    const { byKey, data } = drawingOf(scene(ROWS, { y: error, limit: { value: 1, unit: '%' } }));
    expect(byKey.get('fast')?.y).toBeGreaterThan(byKey.get('base')?.y ?? 0); // an error that fell by half a percent
    expect(data.forbidden?.[0]?.y2).toBeCloseTo(-1);
  });

  it('dims what the brush leaves out, and hides what the legend switches off', () => {
    const brush = [{ measure: 'latency', low: 0, high: 0.1 }];
    const { data } = drawingOf(scene(ROWS, { view: { ...VIEW, brush } }));
    expect(data.strong?.map(({ key, opacity }) => [key, opacity])).toEqual([
      ['base', 0.16],
      ['fast', 1]
    ]);
    const hidden = drawingOf(scene(ROWS, { view: { ...VIEW, hiddenFamilies: ['quantize'] } }));
    expect(hidden.points).toEqual([]);
  });

  it('counts points off scale, and shows them when all are wanted', () => {
    const many = Array.from({ length: 60 }, (_, at) => row(`k${at}`, 1 + at / 60, -at / 60));
    const far = row('far', 0.001, -0.5);
    expect(drawingOf(scene([BASE, ...many, far])).off.map(({ key }) => key)).toEqual(['far']);
    expect(drawingOf(scene([BASE, ...many, far], { view: { ...VIEW, zoom: 'all' } })).off).toEqual([]);
    expect(drawingOf(scene([BASE, ...many, far], { must: ['far'] })).off).toEqual([]);
  });

  it('has bars of the strong ones alone above 300 points', () => {
    const many = Array.from({ length: 301 }, (_, at) => row(`k${at}`, 1 + at / 301, -0.5));
    expect(drawingOf(scene([BASE, ...many])).data.bars?.map(({ key }) => key)).toEqual(['base']);
  });

  it('marks A, B and what is pointed at', () => {
    const drawing = drawingOf(scene(ROWS));
    const { marks, pointed } = marksOf(drawing, 'fast', 'base', 'beaten');
    expect(marks?.map(({ text, size }) => [text, size])).toEqual([
      ['A', 300],
      ['B', 300],
      ['', 190]
    ]);
    expect(pointed?.map(({ key }) => key)).toEqual(['fast', 'base', 'beaten']);
  });

  it('finds the nearest point, and the values under a brush', () => {
    const drawing = drawingOf(scene(ROWS));
    const plot = { width: 500, height: 300 };
    const fast = drawing.byKey.get('fast');
    const [x, y] = fast ? pixel(drawing, plot, fast) : [0, 0];
    expect(nearest(drawing, plot, [x + 12, y - 12], 20)?.row.key).toBe('fast');
    expect(nearest(drawing, plot, [x + 18, y - 18], 20)).toBeNull();
    const [low, high] = valuesBetween(drawing.x, x / 500 - 0.01, x / 500 + 0.01);
    expect(low).toBeLessThan(0.25 / 3);
    expect(high).toBeGreaterThan(0.25 / 3);
  });

  it('is walked along the front, and through all points at one place', () => {
    const above = row('above', 3.01, -0.3);
    const drawing = drawingOf(scene([...ROWS, above]));
    const first = alongFront(drawing, undefined, true);
    expect(first?.row.key).toBe('fast');
    expect(alongFront(drawing, first ?? undefined, true)?.row.key).toBe('base');
    expect(atPlace(drawing, first ?? undefined, true)?.row.key).toBe('above');
    expect(atPlace(drawing, first ?? undefined, false)?.row.key).toBe('fast');
  });
});

describe('patches', () => {
  it('keep what looks the same, so that the view also keeps it', () => {
    const datum = (key: string, x: number): Datum => ({ key, x });
    const first = patchOf(new Map(), [datum('a', 1), datum('b', 2), datum('c', 3)]);
    const next = patchOf(first.kept, [datum('a', 1), datum('b', 5), datum('d', 4)]);
    expect(next.insert).toEqual([datum('b', 5), datum('d', 4)]);
    expect(next.remove).toEqual([datum('b', 2), datum('c', 3)]);
    expect(next.remove.every(gone => first.insert.includes(gone))).toBe(true);
    expect(next.kept.get('a')).toBe(first.kept.get('a'));
  });
});

describe('filters', () => {
  const brush = [
    { measure: 'latency', low: 0.07, high: 0.13 },
    { measure: 'change', low: -1.2, high: 0 }
  ];

  it('are chips in words', () => {
    const filters = { ...VIEW, brush, hiddenRuntimes: ['litert'], failedOnly: true };
    expect(chips(filters, MEASURES, () => 'LiteRT').map(({ words }) => words)).toEqual([
      '0.07–0.13\u2009ms, −1.2 to 0.0\u2009pp',
      'without LiteRT',
      'failed only'
    ]);
  });

  it('take a candidate out that was not measured', () => {
    expect(isOutside(FAST, brush, MEASURES)).toBe(false);
    expect(isOutside(FAILED, brush, MEASURES)).toBe(true);
  });

  it('are a query of the data frame', () => {
    expect(frameCode(VIEW, MEASURES, [])).toBe('frame = report.to_frame()');
    expect(frameCode({ ...VIEW, brush, frontOnly: true, hiddenFamilies: ['prune'] }, MEASURES, [])).toBe(
      'frame = report.to_frame().query(\n    "0.07 <= p50_ms <= 0.13 and -0.012 <= change <= 0 and ' +
        "family not in ['prune'] and on_front\"\n)"
    );
    expect(frameCode({ ...VIEW, hiddenFamilies: ['prune', 'distill'] }, MEASURES, [])).toContain(
      "family not in ['prune', 'distill']"
    );
  });
});

describe('the table', () => {
  const columns = columnsOf('pp', 'accuracy', true);
  const column = (name: string): NonNullable<ReturnType<typeof columns.get>> => {
    const found = columns.get(name);
    if (!found) {
      throw new Error(name);
    }
    return found;
  };

  it('has as many decimals as the intervals allow', () => {
    expect(column('latency').cell(FAST)).toEqual({ value: '0.083', around: '± 0.002' });
    expect(column('speedup').cell(BASE)).toEqual({ value: 'baseline' });
    expect(column('speedup').cell(FAST)).toEqual({ value: '3.00×', around: '[2.95, 3.05]', title: '' });
    expect(column('change').cell(FAST)).toEqual({ value: '−0.50', around: '± 0.20' });
    expect(column('p99').cell(FAST).title).toContain('fewer than ten lie above it');
  });

  it('is as wide as its largest value, of however many rows', () => {
    const rows = Array.from({ length: 500 }, (_, at) => aRow({ size: at === 301 ? 123_456_789_000_000 : 1_000_000 }));
    const width = (found: IRow[]): number => digitsOf(column('size'), found, true);
    expect(width(rows)).toBeGreaterThanOrEqual('123 456 789 000'.length - 2);
    expect(width(rows)).toBeGreaterThan(width([aRow()]));
  });

  it('leaves the name 220 pixels, first at the cost of intervals, then of one line a row', () => {
    const columns = ['name', 'change', 'latency', 'speedup', 'size'].map(column);
    const at = (width: number): unknown[] => {
      const { intervals, lines, template } = roomFor(columns, [BASE, FAST], { width, digit: 7 });
      return [intervals, lines, template.includes('minmax(220px, 1fr)')];
    };
    expect(at(900)).toEqual([true, 1, true]);
    expect(at(620)).toEqual([false, 1, true]);
    expect(at(330)).toEqual([false, 2, false]); // the name has all of the first line
    expect(roomFor(columns, [BASE, FAST], { width: 330, digit: 7 }).template).toBe('40px repeat(4, minmax(58px, 1fr))');
  });

  it('scrolls for columns that were asked for, and shows the usual ones without', () => {
    const usual = ['name', 'change', 'latency', 'speedup', 'size'].map(column);
    const more = [...usual, ...['p90', 'p99', 'flips', 'memory'].map(column)];
    expect(roomFor(more, [BASE, FAST], { width: 660, digit: 7 }).lines).toBe(1);
  });

  it('puts unknown values last, and failed candidates after them', () => {
    const unknown = row('unknown', 1, 0, { p50: null });
    const rows = [FAILED, unknown, FAST, BASE, BEATEN];
    const order = (descending: boolean): string[] =>
      sorted(rows, column('latency'), descending, () => false).map(({ key }) => key);
    expect(order(false)).toEqual(['fast', 'beaten', 'base', 'unknown', 'failed']);
    expect(order(true)).toEqual(['base', 'beaten', 'fast', 'unknown', 'failed']);
  });

  it('keeps the front first among equals', () => {
    const rows = [row('a', 2, 0), row('b', 2, 0)];
    expect(sorted(rows, column('latency'), true, ({ key }) => key === 'b').map(({ key }) => key)).toEqual(['b', 'a']);
  });

  it('copies a row at full precision', () => {
    const [head, values] = rowAsText(row('a\tb', 3, -0.5)).split('\n');
    expect(head?.split('\t')).toHaveLength(values?.split('\t').length ?? 0);
    expect(values).toContain(String(0.25 / 3));
  });
});

describe('words', () => {
  it('say a point as a person would', () => {
    expect(spoken(FAST, LATENCY, CHANGE, { state: 'front', why: '' })).toBe(
      'fast on LiteRT, 0.0833 milliseconds, change minus 0.5 points, on the front'
    );
  });

  it('say everything in the card', () => {
    const score = { ...measure('score', '%', true), label: 'accuracy' };
    const facts = factsOf(FAST, [...MEASURES, score], 'pp').map(({ name, value }) => `${name}: ${value}`);
    expect(facts).toContain('Accuracy: 89.50\u2009%, change −0.50 ± 0.20\u2009pp');
    expect(facts).toContain('Speed-up: 3.00× [2.95, 3.05]');
  });
});

describe('dragging over the chart', () => {
  const size = { width: 456, height: 232 };
  const drawing = drawingOf(scene(ROWS));

  it('along one axis filters by that axis alone, and is shown over all of the other', () => {
    const box = boxOf([100, 80], [200, 82], size);
    expect(isDrag(box)).toBe(true);
    const brush = rangesOf(drawing, box, size);
    expect(brush.map(({ measure }) => measure)).toEqual(['latency']);
    expect(brush[0]?.low).toBeLessThan(brush[0]?.high as number);
    const style = brushed(drawing, brush);
    expect(style?.top).toBe('calc(8px + (100% - 32px) * 0.00000)');
    expect(style?.bottom).toBe('calc(24px + (100% - 32px) * 0.00000)');
    expect(style?.left).toBe('calc(46px + (100% - 56px) * 0.13500)'); // (100 - 46) / 400
    expect(style?.right).toBe('calc(10px + (100% - 56px) * 0.61500)');
  });

  it('both ways filters by both, and hardly at all is a click', () => {
    const both = rangesOf(drawing, boxOf([100, 40], [200, 120], size), size);
    expect(both.map(({ measure }) => measure)).toEqual(['latency', 'change']);
    expect(isDrag(boxOf([100, 80], [103, 82], size))).toBe(false);
    expect(brushed(drawing, [{ measure: 'size', low: 0, high: 1 }])).toBeNull();
  });
});

it('more candidates than a call can have arguments have an axis', () => {
  const many = Array.from({ length: 200_000 }, (_, at) => at / 200_000);
  expect(usual(many, many)).toEqual(usual([0, 0.999995], [0, 0.999995]));
  const rows = many.map((_, at) => ({ ...BEATEN, key: `k${at}` }));
  expect(drawingOf(scene(rows, { judged: new Map(), view: { ...VIEW, zoom: 'all' } })).points).toHaveLength(200_000);
});

describe('the edges of the chart', () => {
  it('have a mark where an interval leaves them', () => {
    const wide = row('wide', 2.5, -0.4, { change: [-0.4, -40, 40] });
    const { data } = drawingOf(scene([BASE, FAST, wide]));
    expect(data.leaving?.map(({ key }) => key)).toEqual(['wide down', 'wide up']);
    expect(drawingOf(scene([BASE, FAST])).data.leaving).toEqual([]);
  });

  it('keep the words of baseline and limit apart, and whole', () => {
    const up = (rows: readonly IRow[], limit = -1): [Datum | undefined, Datum | undefined] => {
      const { data } = drawingOf(scene(rows, { limit: { value: limit, unit: 'pp' } }));
      return [data.rules?.find(({ key }) => key === 'up'), data.limits?.[0]];
    };
    const [baseline, limit] = up([BASE, FAST]);
    expect(baseline).toMatchObject({ text: '', textBefore: 'baseline' }); // the slowest is at the right end
    expect(limit).toMatchObject({ text: '', textStart: 'your limit, −1.0 pp' }); // the line would cross it there
    const slow = row('slow', 0.1, -0.5);
    const [left, right] = up([BASE, slow]);
    expect(left).toMatchObject({ text: 'baseline', textBefore: '' });
    expect(right).toMatchObject({ text: 'your limit, −1.0 pp', textStart: '' });
  });
});

describe('before anything is timed', () => {
  const evaluated = [BASE, FAST].map(one => ({ ...one, status: 'built' as const, p50: null, speedup: null }));

  it('points stand by size, and the axis says so', () => {
    const x = knownOr(evaluated, LATENCY, SIZE);
    expect([x.name, x.title]).toEqual(['size', 'size, until latency is measured']);
    expect(hasPoint(evaluated, x, CHANGE)).toBe(true);
    expect(hasPoint(evaluated, LATENCY, CHANGE)).toBe(false);
  });

  it('one latency is enough to stand by latency', () => {
    expect(knownOr([...evaluated, FAST], LATENCY, SIZE)).toBe(LATENCY);
    expect(knownOr([], LATENCY, SIZE)).toBe(LATENCY);
  });
});
