/** Running one candidate again: what failed is tried again, what is not sure is timed more often. */

import type { ReactElement } from 'react';
import { Button, useAsk } from '../elements/parts';
import type { IRow } from '../rows';
import { useAlive, useSection } from '../store';
import { ACTIVE } from './panel';

/** Badges that more launches may take away. */
const UNSURE = new Set(['noisy', 'inconclusive', 'timed briefly']);

/** What running a candidate again is called; nothing where that makes no sense. */
export function againOf(row: IRow): string {
  if (row.status === 'failed') {
    return 'Try again';
  }
  return row.status === 'measured' && row.badges.some(badge => UNSURE.has(badge)) ? 'Measure again' : '';
}

export function Again({ row }: { row: IRow }): ReactElement | null {
  const sweep = useSection('sweep');
  const alive = useAlive();
  const { ask, error } = useAsk();
  const words = againOf(row);
  if (!words || sweep === undefined) {
    return null; // a report that is shown alone runs nothing
  }
  const reason = alive ? (ACTIVE.has(sweep.state) ? 'A sweep is running.' : '') : 'The kernel is not responding.';
  return (
    <>
      <Button
        kind="link"
        aria-label={`${words}: ${row.name} on ${row.where}`}
        reason={reason}
        onClick={event => {
          event.stopPropagation(); // of the row, which would be selected
          void ask('again', { key: row.key });
        }}
      >
        {words}
      </Button>
      {error && <span className="dk-soft"> {error}</span>}
    </>
  );
}
