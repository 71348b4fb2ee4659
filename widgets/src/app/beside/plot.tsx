/** A small chart beside others: what stands on which axis, and which points are on its front. */

import type { ReactElement } from 'react';
import type { IAxis } from '../chart/axes';
import { outlineOf } from '../elements/icons';
import { useBench, useView } from '../store';
import { useScene } from '../tradeoff/scene';
import { type IDot, readable } from './plots';

const SIZE = { width: 340, height: 250, left: 46, right: 8, top: 8, bottom: 38 };

export function Plot({
  title,
  dots,
  x,
  y
}: {
  title: string;
  dots: readonly IDot[];
  x: IAxis;
  y: IAxis;
}): ReactElement {
  const bench = useBench();
  const { rows, select, colorOf } = useScene();
  const hovered = useView(view => view.hovered);
  const atX = (share: number): number => SIZE.left + share * (SIZE.width - SIZE.left - SIZE.right);
  const atY = (share: number): number => SIZE.height - SIZE.bottom - share * (SIZE.height - SIZE.top - SIZE.bottom);
  const [left, right, bottom, top] = [atX(0), atX(1), atY(0), atY(1)];
  const of = (axis: IAxis, tick: number): number => (tick - axis.low) / (axis.high - axis.low);
  const labels = readable(
    x.labels,
    x.ticks.map(tick => atX(of(x, tick)))
  );
  const front = dots.filter(dot => dot.strong).length;
  return (
    <figure className="dk-beside-plot">
      <figcaption>{title}</figcaption>
      <svg
        viewBox={`0 0 ${SIZE.width} ${SIZE.height}`}
        role="img"
        aria-label={`${title}: ${dots.length} candidate${dots.length === 1 ? '' : 's'}, ${front} on the front or tied with it. The table has them.`}
      >
        {x.ticks.map((tick, at) => (
          <g key={tick}>
            <line className="dk-beside-grid" x1={atX(of(x, tick))} x2={atX(of(x, tick))} y1={top} y2={bottom} />
            <text x={atX(of(x, tick))} y={bottom + 14} textAnchor="middle">
              {labels[at]}
            </text>
          </g>
        ))}
        {y.ticks.map((tick, at) => (
          <g key={tick}>
            <line className="dk-beside-grid" x1={left} x2={right} y1={atY(of(y, tick))} y2={atY(of(y, tick))} />
            <text x={left - 5} y={atY(of(y, tick)) + 4} textAnchor="end">
              {y.labels[at]}
            </text>
          </g>
        ))}
        <text x={(left + right) / 2} y={SIZE.height - 6} textAnchor="middle">
          {x.title}
        </text>
        <text transform={`translate(10 ${(top + bottom) / 2}) rotate(-90)`} textAnchor="middle">
          {y.measure.label}
          {y.measure.unit && `, ${y.measure.unit}`}
        </text>
        {[...dots]
          .sort((one, other) => Number(one.strong) - Number(other.strong))
          .map(dot => {
            const { key, mark, runtime } = dot.row;
            const color = `var(--dk-c${colorOf(runtime)})`;
            return (
              // biome-ignore lint/a11y/noStaticElementInteractions: the table has the keys
              <g
                key={key}
                stroke={color}
                opacity={dot.strong || hovered === key ? 1 : 0.5}
                onPointerEnter={() => bench.look({ hovered: key })}
                onPointerLeave={() => bench.look({ hovered: '' })}
                onClick={event => rows.has(key) && select(event.shiftKey ? 'b' : 'a', key)}
              >
                <title>{`${dot.row.name} on ${dot.row.where}`}</title>
                <line x1={atX(dot.across[0])} x2={atX(dot.across[1])} y1={atY(dot.y)} y2={atY(dot.y)} />
                <line x1={atX(dot.x)} x2={atX(dot.x)} y1={atY(dot.up[0])} y2={atY(dot.up[1])} />
                <path
                  d={outlineOf(mark)}
                  transform={`translate(${atX(dot.x) - 6} ${atY(dot.y) - 6})`}
                  fill={dot.strong ? color : 'var(--dk-surface)'}
                  strokeWidth={1.4}
                />
                {hovered === key && <circle className="dk-beside-ring" cx={atX(dot.x)} cy={atY(dot.y)} r={9} />}
              </g>
            );
          })}
      </svg>
    </figure>
  );
}
