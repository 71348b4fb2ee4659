/** Settings as columns of the table: what the lines show, for all who do not see them. */

import { DASH } from '../format';
import type { IColumn } from '../table/columns';
import { type IMeasure, valueIn } from '../tradeoff/measures';
import { wordOf } from './coordinates';

/** Runtime and family are said beside the name already. */
const SAID = ['setting:runtime', 'setting:family'];

export function settingColumns(settings: readonly IMeasure[]): IColumn[] {
  return settings
    .filter(({ name }) => !SAID.includes(name))
    .map(measure => ({
      name: measure.name,
      title: measure.title,
      cell: row => {
        const value = valueIn(row, measure)?.[0];
        return value === undefined
          ? { value: DASH, title: 'Not used by this candidate' }
          : { value: wordOf(measure, value) };
      },
      sort: row => valueIn(row, measure)?.[0] ?? null
    }));
}
