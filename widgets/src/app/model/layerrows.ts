/** Layers of a model: columns, sorting, shares. */

import { byName } from '../format';

export interface ILayer {
  name: string;
  type: string;
  shape: string;
  parameters: number;
  /** Share of the time of one inference, null when it is not known. */
  time: number | null;
  /** Layers whose time is in it. */
  fused: string[];
}

export type Column = 'name' | 'type' | 'shape' | 'parameters' | 'share' | 'time';

export const COLUMNS: readonly { key: Column; title: string; isNumber: boolean }[] = [
  { key: 'name', title: 'Layer', isNumber: false },
  { key: 'type', title: 'Type', isNumber: false },
  { key: 'shape', title: 'Output', isNumber: false },
  { key: 'parameters', title: 'Parameters', isNumber: true },
  { key: 'share', title: 'Share', isNumber: true },
  { key: 'time', title: 'Share of time', isNumber: true }
];

/** The layers by a column; unknown values last, equal ones and no column in the file's order. */
export function sorted(layers: readonly ILayer[], column: Column | '', descending: boolean): ILayer[] {
  if (column === '') {
    return [...layers];
  }
  const sign = descending ? -1 : 1;
  return [...layers].sort((one, other) => {
    const [a, b] = [keyOf(one, column), keyOf(other, column)];
    if (a === null || b === null) {
      return Number(a === null) - Number(b === null);
    }
    return sign * (typeof a === 'string' ? byName(a, String(b)) : a - Number(b));
  });
}

function keyOf(layer: ILayer, column: Column): string | number | null {
  return column === 'share' ? layer.parameters : layer[column];
}

export function shareOf(layer: ILayer, total: number): number | null {
  return total > 0 ? layer.parameters / total : null;
}
