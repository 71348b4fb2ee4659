import { describe, expect, it } from 'vitest';
import type { IRow } from '../../src/app/rows';
import { settingColumns } from '../../src/app/settings/columns';
import { coordinatesOf, type ICoordinate, type IPlaces, linesOf, nearestLine, position, rangeBetween, short, UNUSED, upwards, valueAt, withRange, worded, yOf } from '../../src/app/settings/coordinates'; // biome-ignore format: one line
import { chips, frameCode, isOutside } from '../../src/app/tradeoff/filters';
import { type IMeasure, valueIn } from '../../src/app/tradeoff/measures';
import { VIEW } from '../../src/app/view';
import { aRow } from '../rows';

const LATENCY: IMeasure = { name: 'latency', label: 'latency', title: 'Latency', unit: 'ms', higher: false, better: 'faster' }; // biome-ignore format: one line
const SPARSITY: IMeasure = { name: 'setting:prune.sparsity', label: 'sparsity', title: 'sparsity, %', unit: '%', higher: true, better: '' }; // biome-ignore format: one line
const METHOD: IMeasure = { name: 'setting:q.method', label: 'method', title: 'method', unit: '', higher: true, better: '', options: ['MinMax', 'Entropy', 'Percentile'], values: ['MinMax', 'Entropy', 'Percentile'] }; // biome-ignore format: one line
const FAMILY: IMeasure = { name: 'setting:family', label: 'technique', title: 'technique', unit: '', higher: true, better: '', options: ['original', 'prune', 'quantize'], values: ['original', 'prune', 'quantize'] }; // biome-ignore format: one line
const ALL = [FAMILY, SPARSITY, METHOD, LATENCY];

function row(key: string, p50: number, settings: IRow['settings']): IRow {
  return aRow({ key, name: key, p50: [p50, p50, p50], settings });
}

const ROWS = [
  row('base', 8, { family: 'original' }),
  row('half', 4, { family: 'prune', 'prune.sparsity': 50 }),
  row('most', 2, { family: 'prune', 'prune.sparsity': 80 }),
  row('int8', 1, { family: 'quantize', 'q.method': 'Entropy' })
];
const SCENE = { rows: ROWS, judged: new Map(), measures: ALL, colorOf: () => '#000000', view: VIEW };
const PLACES: IPlaces = { left: 10, step: 100, top: 0, bottom: 100 };

describe('axes', () => {
  const axes = coordinatesOf(ROWS, ALL);
  const [family, sparsity, method, latency] = axes as [ICoordinate, ICoordinate, ICoordinate, ICoordinate];

  it('have words in their order, and numbers that are few as they are', () => {
    expect(family.ticks.map(tick => tick.label)).toEqual(['original', 'prune', 'quantize']);
    expect(family.ticks.map(tick => tick.at)).toEqual([1 / 6, 3 / 6, 5 / 6]);
    expect(sparsity.ticks).toEqual([
      { at: 0, label: '50' },
      { at: 1, label: '80' }
    ]);
    expect(method.ticks).toHaveLength(3);
  });

  it('are logarithmic where values are far apart, and up is better', () => {
    expect(latency.log).toBe(true);
    // Of 8, 4, 2 and 1 ms, each half is a third of the way.
    expect([8, 4, 2, 1].map(value => position(latency, value))).toEqual(
      [0, 1 / 3, 2 / 3, 1].map(at => expect.closeTo(at))
    );
    expect(valueAt(latency, 0.5)).toBeCloseTo(Math.sqrt(8));
    expect(latency.ticks[0]?.label).toBe('8');
  });

  it('are left out where nothing is on them', () => {
    expect(coordinatesOf([ROWS[0] as IRow], ALL).map(axis => axis.measure.name)).toEqual(['setting:family', 'latency']);
  });

  it('write three digits, and none that say nothing', () => {
    expect([0.02374, 80, 1234.5, -0.5, 0, 2.5].map(short)).toEqual(['0.0237', '80', '1230', '−0.5', '0', '2.5']);
  });
});

it('a setting of words and numbers has each value at its option, and a value without an option nowhere', () => {
  const mixed: IMeasure = {
    ...METHOD,
    name: 'setting:q.limit',
    options: ['50.0', '8', 'auto'],
    values: [50, 8, 'auto']
  };
  const rows = [50, 8, 'auto', 'later', 70].map((value, at) => row(`${at}`, 1, { 'q.limit': value }));
  expect(rows.map(one => valueIn(one, mixed)?.[0])).toEqual([0, 1, 2, undefined, undefined]);
  const [axis] = coordinatesOf(rows, [mixed]) as [ICoordinate];
  expect(linesOf([axis], { ...SCENE, rows }).map(line => line.at[0])).toEqual([1 / 6, 3 / 6, 5 / 6, UNUSED, UNUSED]);
  expect(rows.map(one => worded(one, mixed))).toEqual(['50.0', '8', 'auto', 'not used', 'not used']);
});

describe('lines', () => {
  const axes = coordinatesOf(ROWS, ALL);

  it('pass below the axes of settings that are not used', () => {
    const lines = linesOf(axes, SCENE);
    expect(lines.map(line => line.at[1])).toEqual([UNUSED, 0, 1, UNUSED]);
    expect(worded(ROWS[0] as IRow, SPARSITY)).toBe('not used');
    expect(worded(ROWS[1] as IRow, SPARSITY)).toBe('50\u2009%');
    expect(worded(ROWS[3] as IRow, METHOD)).toBe('Entropy');
  });

  it('are those of the chart: what the legend hides is gone, what the brush leaves out is dimmed', () => {
    const brush = [{ measure: SPARSITY.name, low: 60, high: 90 }];
    const lines = linesOf(axes, { ...SCENE, view: { ...VIEW, brush, hiddenFamilies: [] } });
    expect(lines.filter(line => !line.dimmed).map(line => line.row.key)).toEqual(['most']);
    expect(upwards(lines, 0).map(line => line.row.key)).toEqual(['most']);
    expect(linesOf(axes, { ...SCENE, view: { ...VIEW, hiddenRuntimes: ['litert'] } })).toEqual([]);
  });

  it('are found from a place near them, steep ones too', () => {
    const lines = linesOf(axes, SCENE);
    const latency = axes.length - 1;
    const at = (line: number): number => yOf(PLACES, lines[line]?.at[latency] ?? 0);
    expect(nearestLine(lines, PLACES, [10 + 100 * latency, at(3) + 3], 12)?.row.key).toBe('int8');
    expect(nearestLine(lines, PLACES, [10 + 100 * latency, at(1) - 14], 12)).toBeNull();
    // Between the second and the third axis the line of "most" falls from 1 to below 0: the middle of it.
    const middle = (yOf(PLACES, 1) + yOf(PLACES, UNUSED)) / 2;
    expect(nearestLine(lines, PLACES, [10 + 150, middle], 2)?.row.key).toBe('most');
  });
});

describe('ranges', () => {
  const [family, sparsity, , latency] = coordinatesOf(ROWS, ALL) as [
    ICoordinate,
    ICoordinate,
    ICoordinate,
    ICoordinate
  ];

  it('hold the candidates whose values are between the ends', () => {
    const range = rangeBetween(latency, 0.5, 1);
    expect(range).toEqual({ measure: 'latency', low: 1, high: expect.closeTo(Math.sqrt(8)) });
    const left = ROWS.filter(one => !isOutside(one, range ? [range] : [], ALL));
    expect(left.map(one => one.key)).toEqual(['most', 'int8']);
  });

  it('hold the words whose middle is between the ends, and none where there is not a middle', () => {
    expect(rangeBetween(family, 0.4, 0.6)).toEqual({ measure: FAMILY.name, low: 0.5, high: 1.5 });
    expect(rangeBetween(family, 0.55, 0.65)).toBeNull();
    const range = rangeBetween(family, 0.4, 1);
    expect(ROWS.filter(one => !isOutside(one, range ? [range] : [], ALL)).map(one => one.key)).toEqual(['half', 'most', 'int8']); // biome-ignore format: one line
  });

  it('leave those of other axes as they are', () => {
    const one = { measure: 'latency', low: 1, high: 2 };
    const two = rangeBetween(sparsity, 0, 1);
    expect(withRange([one], SPARSITY.name, two)).toEqual([one, two]);
    expect(withRange([one, ...(two ? [two] : [])], SPARSITY.name, null)).toEqual([one]);
  });

  it('are a chip each in words, and code where the frame has the column', () => {
    const brush = [
      { measure: FAMILY.name, low: 0.5, high: 2.5 },
      { measure: SPARSITY.name, low: 50, high: 80 }
    ];
    const filters = { ...VIEW, brush };
    expect(chips(filters, ALL, name => name).map(chip => chip.words)).toEqual(['technique: prune, quantize', 'sparsity: 50–80\u2009%']); // biome-ignore format: one line
    const code = frameCode(filters, ALL, ROWS);
    expect(code).toContain("family in ['prune', 'quantize']");
    expect(code).toContain('no column for sparsity');
  });

  it('are code about places by the names that the frame has for them', () => {
    const place = (name: string, options: string[]): IMeasure => ({
      ...FAMILY,
      name: `setting:${name}`,
      label: name,
      options,
      values: options
    });
    const found = [place('runtime', ['LiteRT', 'ONNX Runtime', 'TensorFlow']), place('device', ['cpu', 'gpu'])];
    const rows = ['TensorFlow', 'ONNX Runtime', 'LiteRT', 'ONNX Runtime'].map((label, at) =>
      aRow({ key: `${at}`, runtime: label.toLowerCase().replace(' ', ''), settings: { runtime: label, device: 'gpu' } })
    );
    const brush = [
      { measure: 'setting:runtime', low: -0.5, high: 1.5 },
      { measure: 'setting:device', low: 0.5, high: 1.5 }
    ];
    expect(frameCode({ ...VIEW, brush }, found, rows)).toBe(
      "frame = report.to_frame().query(\n    \"runtime in ['litert', 'onnxruntime'] and device in ['gpu']\"\n)"
    );
  });
});

it('the table has the settings as columns, for all who do not see the lines', () => {
  const [sparsity, method, ...more] = settingColumns([FAMILY, SPARSITY, METHOD]);
  expect(more).toEqual([]);
  expect(sparsity?.cell(ROWS[2] as IRow).value).toBe('80');
  expect(sparsity?.cell(ROWS[0] as IRow)).toEqual({ value: '—', title: 'Not used by this candidate' });
  expect(method?.cell(ROWS[3] as IRow).value).toBe('Entropy');
  expect(method?.sort(ROWS[3] as IRow)).toBe(1);
});
