/** Lines beside the rows of a diff that show which nodes read what: each tensor runs in a lane until its last reader. */

export interface IRail {
  /** Lane of the row's own dot. */
  own: number;
  /** Lanes of what it reads, above it. */
  from: number[];
  /** Lanes that pass from the row above to the one below. */
  passing: number[];
  /** Whether a row below reads it. */
  goesOn: boolean;
}

/**
 * The places among the shown rows of what each of them reads; what is hidden between is looked through.
 *
 * @param reads Places of what each row reads, among all rows.
 * @param shown Places of the rows that are shown, in order.
 */
export function readsAmong(reads: readonly (readonly number[])[], shown: readonly number[]): number[][] {
  const places = new Map(shown.map((row, place) => [row, place]));
  const known = new Map<number, ReadonlySet<number>>();
  const seen = (row: number): ReadonlySet<number> => {
    const found = new Set<number>();
    for (const source of reads[row] ?? []) {
      const place = places.get(source);
      if (place !== undefined) {
        found.add(place);
      } else {
        for (const other of known.get(source) ?? []) {
          found.add(other);
        }
      }
    }
    known.set(row, found);
    return found;
  };
  // Rows come after what they read, so that what is hidden is known before it is looked through.
  reads.forEach((_, row) => void seen(row));
  return shown.map((row, place) => [...(known.get(row) ?? [])].filter(source => source < place));
}

/** The lanes of rows that read rows above them. */
export function railsOf(reads: readonly (readonly number[])[]): IRail[] {
  const last = new Map<number, number>();
  reads.forEach((sources, row) => {
    for (const source of sources) {
      last.set(source, row);
    }
  });
  const lanes: (number | null)[] = [];
  return reads.map((sources, row) => {
    const from = sources.map(source => lanes.indexOf(source)).filter(lane => lane >= 0);
    const ending = new Set(from.filter(lane => last.get(lanes[lane] ?? -1) === row));
    const free = lanes.findIndex((source, lane) => source === null || ending.has(lane));
    const own = ending.size > 0 ? Math.min(...ending) : free < 0 ? lanes.length : free;
    const passing = lanes.flatMap((source, lane) => (source !== null && !ending.has(lane) ? [lane] : []));
    for (const lane of ending) {
      lanes[lane] = null;
    }
    const goesOn = last.has(row);
    lanes[own] = goesOn ? row : null;
    return { own, from, passing, goesOn };
  });
}
