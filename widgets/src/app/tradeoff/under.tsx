/** Below the chart: what the marks mean, and what is not on it. */

import type { ReactElement, ReactNode } from 'react';
import type { IDrawing } from '../chart/points';
import { Button } from '../elements/parts';
import { fixed, plural } from '../format';
import { useBench, useView } from '../store';
import { valueIn } from './measures';
import { useScene } from './scene';

export function Under({ drawing, children }: { drawing: IDrawing; children: ReactNode }): ReactElement {
  const bench = useBench();
  const { rows, x, y } = useScene();
  const failedOnly = useView(view => view.failedOnly);
  const failed = [...rows.values()].filter(row => row.status === 'failed').length;
  const outside = drawing.off.slice(0, 2).map(row => {
    // Whichever axis it leaves is the one to name.
    const across = valueIn(row, x);
    const position = across && drawing.x.sign * (drawing.x.log ? Math.log10(across[0]) : across[0]);
    const leaves = position !== null && (position < drawing.x.low || position > drawing.x.high);
    const [measure, value] = leaves ? [x, across] : [y, valueIn(row, y)];
    return value ? `${fixed(value[0], 2)}\u2009${measure.unit}` : '';
  });
  const off = drawing.off.length;
  return (
    <div className="dk-under">
      <span className="dk-soft">Filled: on the front or tied. Hollow: beaten. Dashed ring: noisy.</span>
      {off > 0 && (
        <Button kind="link" title="Fit all points" onClick={() => bench.look({ zoom: 'all' })}>
          {off} off scale{off <= 2 ? `, ${outside.join(', ')}` : ''}
        </Button>
      )}
      <span className="dk-under-actions">
        {children}
        {failed > 0 && (
          <Button kind="link" aria-pressed={failedOnly} onClick={() => bench.look({ failedOnly: !failedOnly })}>
            {plural(failed, 'failed', 'failed')}
          </Button>
        )}
      </span>
    </div>
  );
}
