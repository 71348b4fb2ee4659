/** The card beside a point: all that is known of a candidate, as text that can be selected. */

import type { ReactElement } from 'react';
import { Glyph } from '../elements/icons';
import type { IRow } from '../rows';
import { Again } from '../sweep/again';
import { isStrong } from '../tradeoff/front';
import { useScene } from '../tradeoff/scene';
import { badgeInWords, factsOf, placeOf } from '../tradeoff/words';
import { NEAR_PX } from './live';

/** Beside all places that point at the point: a card that opened under the pointer would take its click. */
const ASIDE_PX = NEAR_PX + 4;

interface ICard {
  row: IRow;
  /** Of the point, in pixels of the chart. */
  at: [number, number];
  room: { width: number; height: number };
  onEnter(): void;
  onLeave(): void;
}

export function Card({ row, at: [x, y], room, onEnter, onLeave }: ICard): ReactElement {
  const { tradeoff, judged, labelOf, colorOf } = useScene();
  const state = judged.get(row.key);
  const style = {
    maxWidth: Math.min(340, Math.max(x, room.width - x) - ASIDE_PX - 4),
    ...(x > room.width / 2 ? { right: room.width - x + ASIDE_PX } : { left: x + ASIDE_PX }),
    ...(y > room.height / 2 ? { bottom: room.height - y - 4 } : { top: y - 4 })
  };
  return (
    <div className="dk-card" style={style} onPointerEnter={onEnter} onPointerLeave={onLeave}>
      <div className="dk-card-name">
        <Glyph mark={row.mark} color={colorOf(row.runtime)} filled={isStrong(state)} />
        <b>{row.name}</b>
      </div>
      <div className="dk-soft">{placeOf(row, labelOf(row.runtime))}</div>
      <dl>
        {factsOf(row, tradeoff.measures, tradeoff.unit).map(({ name, value }) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {row.badges.map(badge => (
        <p key={badge} className="dk-card-badge">
          {badgeInWords(badge)}
        </p>
      ))}
      {state?.why && <p>{state.why}</p>}
      <Again row={row} />
    </div>
  );
}
