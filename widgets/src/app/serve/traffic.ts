/** What a server does now, from what it has done since it was started. */

/** Sums since the start, as the kernel reads them. */
export interface ITraffic {
  alive: boolean;
  failure: string;
  answered: number;
  refused: number;
  /** Histogram of times; the last bucket has no upper end. */
  counts: number[];
  bounds_ms: number[];
}

export interface ISeen {
  /** Milliseconds of the page's clock. */
  at: number;
  traffic: ITraffic;
}

export interface IRate {
  /** Predictions a second over the window. */
  perSecond: number;
  /** Null without any. */
  p50: number | null;
  p99: number | null;
  answered: number;
  refused: number;
}

export const WINDOW_MS = 10_000;

/** Add an observation, and forget those that are older than the window but for one at its beginning. */
export function observed(seen: readonly ISeen[], latest: ISeen): ISeen[] {
  const last = seen.at(-1);
  if (last && latest.traffic.answered < last.traffic.answered) {
    return [latest]; // another server
  }
  const all = [...seen, latest];
  const inside = all.findIndex(({ at }) => at > latest.at - WINDOW_MS);
  return all.slice(Math.max(0, inside - 1));
}

/** Rate and times between the first and the last observation; null while there is one only. */
export function rateOf(seen: readonly ISeen[]): IRate | null {
  const [first, last] = [seen[0], seen.at(-1)];
  if (!first || !last || last.at <= first.at) {
    return null;
  }
  const counts = last.traffic.counts.map((count, place) => count - (first.traffic.counts[place] ?? 0));
  const answered = last.traffic.answered - first.traffic.answered;
  return {
    perSecond: (1000 * answered) / (last.at - first.at),
    p50: quantile(counts, last.traffic.bounds_ms, 0.5),
    p99: quantile(counts, last.traffic.bounds_ms, 0.99),
    answered: last.traffic.answered,
    refused: last.traffic.refused
  };
}

/** A quantile of a histogram: its bucket is known, and the place in it by interpolation on a log scale. */
export function quantile(counts: readonly number[], bounds: readonly number[], share: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) {
    return null;
  }
  let before = 0;
  for (let place = 0; place < counts.length; place++) {
    const count = counts[place] ?? 0;
    if (count > 0 && before + count >= share * total) {
      const high = bounds[place] ?? bounds.at(-1) ?? 0;
      const low = bounds[place - 1] ?? high / 2;
      return low * (high / low) ** ((share * total - before) / count);
    }
    before += count;
  }
  return bounds.at(-1) ?? null;
}

/** Two significant digits, which is what the buckets can tell. */
export function milliseconds(value: number | null): string {
  if (value === null) {
    return '—';
  }
  if (value >= 1000) {
    return `${(value / 1000).toPrecision(2)} s`;
  }
  return `${value >= 100 ? Math.round(value / 10) * 10 : value.toPrecision(2)} ms`;
}

export function perSecond(value: number): string {
  return value >= 100 ? String(Math.round(value)) : value >= 10 ? value.toFixed(0) : value.toFixed(1);
}
