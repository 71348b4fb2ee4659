/** One candidate in words: for the card beside a point, for screen readers, and for copying. */

import {
  fixed,
  type IShown,
  inLine,
  kilobytes,
  megabytes,
  milliseconds,
  points,
  ratio,
  score as shownScore
} from '../format';
import type { IRow } from '../rows';
import type { IJudged } from './front';
import { type IMeasure, valueIn } from './measures';

function joined(shown: IShown, unit = ''): string {
  return `${inLine(shown)}${unit ? `\u2009${unit}` : ''}`;
}

const KNOWN: Record<string, string> = {
  noisy: 'Noisy: copies of the same model differed more than usual, so it was measured in more launches.',
  inconclusive: 'Inconclusive: its interval stayed wide after all launches, so no claim is made.',
  'not warm': 'Not warm: it was still getting faster when it was timed.',
  throttled: 'Throttled: the machine slowed itself down while it measured, because of heat or a weak power supply.',
  'timed briefly': 'Timed briefly: others are faster and no less accurate, so it was timed in a few rounds only.',
  'same file': 'Same file as another candidate.',
  slower: 'Slower than the original model.',
  stopped: 'Stopped early.',
  'still measuring': 'Still measuring: its numbers may change.'
};

/** A badge in a sentence. */
export function badgeInWords(badge: string): string {
  return KNOWN[badge] ?? badge;
}

export interface IFact {
  name: string;
  value: string;
}

/** All that is known of a candidate. */
export function factsOf(row: IRow, measures: readonly IMeasure[], unit: string): IFact[] {
  const facts: IFact[] = [];
  const score = measures.find(measure => measure.name === 'score');
  if (score && row.score !== null) {
    const change = row.change && !row.isBaseline ? `, change ${joined(points(row.change), unit)}` : '';
    const value = `${shownScore(row.score, score.unit !== '%')}${score.unit ? `\u2009${score.unit}` : ''}${change}`;
    facts.push({ name: sentence(score.label), value });
  }
  for (const measure of measures.filter(({ name }) => name.startsWith('metric:'))) {
    const value = valueIn(row, measure);
    if (value) {
      const shown = fixed(value[0], measure.unit === '%' ? 2 : 4);
      facts.push({ name: sentence(measure.label), value: measure.unit ? `${shown}\u2009${measure.unit}` : shown });
    }
  }
  if (row.p50) {
    const launches = row.launches > 0 ? `, ${row.launches} launches` : '';
    facts.push({ name: 'p50', value: joined(milliseconds(row.p50), 'ms') + launches });
  }
  if (row.isBaseline) {
    facts.push({ name: 'Speed-up', value: 'baseline' });
  } else if (row.speedup) {
    facts.push({ name: 'Speed-up', value: row.parts || joined(ratio(row.speedup)) });
  }
  if (row.sameRuntime) {
    facts.push({ name: `vs float32 on ${row.where}`, value: joined(ratio(row.sameRuntime)) });
  }
  if (row.size !== null) {
    const gzip = row.compressed === null ? '' : `, gzip ${kilobytes(row.compressed)}\u2009kB`;
    facts.push({ name: 'Size', value: `${kilobytes(row.size)}\u2009kB${gzip}` });
  }
  if (row.memory !== null) {
    facts.push({ name: 'Memory', value: `${megabytes(row.memory)}\u2009MB` });
  }
  return facts;
}

/** Where it ran, in full. */
export function placeOf(row: IRow, runtime: string): string {
  const threads = row.threads === 1 ? '1 thread' : `${row.threads} threads`;
  return `${runtime} · ${row.device === 'cpu' ? 'CPU' : row.device} · ${threads} · batch ${row.batch}`;
}

/** What is read out at a point: "int8 static on LiteRT, 0.094 milliseconds, accuracy minus 0.31 points, on the front". */
export function spoken(row: IRow, x: IMeasure, y: IMeasure, judged: IJudged | undefined): string {
  const states = {
    front: 'on the front',
    tied: 'tied with the front',
    beaten: 'beaten',
    screened: 'not final',
    '': ''
  };
  const parts = [`${row.name} on ${row.where}`, saidValue(row, x), saidValue(row, y), states[judged?.state ?? '']];
  return [...parts, ...row.badges].filter(Boolean).join(', ');
}

const UNITS: Record<string, string> = {
  ms: 'milliseconds',
  pp: 'points',
  '%': 'percent',
  kB: 'kilobytes',
  MB: 'megabytes'
};

function saidValue(row: IRow, measure: IMeasure): string {
  const value = valueIn(row, measure);
  if (value === null) {
    return '';
  }
  const number = String(Number(value[0].toPrecision(3))).replace('-', 'minus ');
  const name = measure.name === 'latency' ? '' : `${measure.label} `;
  return `${name}${number} ${UNITS[measure.unit] ?? measure.unit}`.trim();
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
