/** The sweet spot: the best candidate within the user's limit, as a star in the chart and in words in the legend. */

import type { ReactElement } from 'react';
import { limitText } from '../format';
import type { ITradeoff } from '../tradeoff/section';
import type { Datasets, IDrawing } from './points';

/** Five points in a box from 0 to 12; sweet_spot.py has the same in a box of its own. */
const STAR = 'M6 .8L7.2 4.3 10.9 4.3 7.9 6.5 9.1 10.1 6 7.9 2.9 10.1 4.1 6.5 1.1 4.3 4.8 4.3Z';

/** Its key; empty while no candidate is within the limit. */
export function sweetKey({ best }: ITradeoff): string {
  return best?.met ? best.key : '';
}

/** `sweet spot: best within 1.0 pp`. */
export function sweetWords({ limit, unit }: ITradeoff): string {
  return `best within ${limitText(Math.abs(limit))} ${unit}`;
}

/** The star's row in the chart's data. */
export function starOf(drawing: IDrawing, tradeoff: ITradeoff): Datasets {
  const point = drawing.byKey.get(sweetKey(tradeoff));
  return { sweet: point ? [{ key: 'sweet', x: point.x, y: point.y }] : [] };
}

/** In the legend, beside the buttons: it cannot be switched off. */
export function SweetSpotEntry({ tradeoff }: { tradeoff: ITradeoff }): ReactElement | null {
  if (sweetKey(tradeoff) === '') {
    return null;
  }
  return (
    <>
      <span className="dk-legend-gap" />
      <span className="dk-legend-note">
        <svg className="dk-glyph dk-star" viewBox="0 0 12 12" aria-hidden="true">
          <path d={STAR} />
        </svg>
        sweet spot: {sweetWords(tradeoff)}
      </span>
    </>
  );
}
