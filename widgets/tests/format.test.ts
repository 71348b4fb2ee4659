import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import * as format from '../src/app/format';
import type { Interval } from '../src/app/protocol';

interface ICase {
  kind: string;
  given: number[];
  shown: string;
}

const CASES = JSON.parse(readFileSync(new URL('./numbers.json', import.meta.url), 'utf-8')) as ICase[];

/** As `deploykit.reporting.numbers` is asked. */
const WRITERS: Record<string, (given: number[]) => string> = {
  milliseconds: given => format.inLine(format.milliseconds(given as unknown as Interval)),
  amount: given => format.inLine(format.amount(given as unknown as Interval)),
  times: given => format.inLine(format.ratio(given as unknown as Interval)),
  beside: ([value, ...interval]) => format.beside(value as number, interval as unknown as unknown as Interval),
  points: given => format.inLine(format.points(given.map(end => 100 * end) as unknown as Interval)),
  score: ([value, relative]) => format.score(value as number, relative === 1),
  kilobytes: ([size]) => format.kilobytes(size as number),
  megabytes: ([size]) => format.megabytes(size as number)
};

it('numbers look as they do in reports, in the verdict and on the command line', () => {
  expect(CASES.length).toBeGreaterThan(2000);
  expect(CASES.map(({ kind, given }) => WRITERS[kind]?.(given))).toEqual(CASES.map(({ shown }) => shown));
});
