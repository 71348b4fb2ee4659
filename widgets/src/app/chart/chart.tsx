/** The live chart: one view in a canvas, with what people touch above it. */

import { type ReactElement, useCallback, useEffect, useId, useMemo, useRef, useState } from 'react';
import { Button, Problem, Waiting } from '../elements/parts';
import { useBench, useView } from '../store';
import { hasPoint, measuresOf } from '../tradeoff/measures';
import { useScene } from '../tradeoff/scene';
import { type ITheme, useTheme } from '../tradeoff/theme';
import { Under } from '../tradeoff/under';
import { brushed, type IBox } from './brush';
import { Card } from './card';
import { onChartKeys } from './keys';
import { type ISize, LiveChart, plotOf, ROOM, signalsOf } from './live';
import { usePointer } from './pointer';
import { drawingOf, type IDrawing, marksOf, pixel } from './points';
import { useSpec } from './spec';
import { summary } from './summary';
import { starOf } from './sweetspot';

/** The chart, once there is a point for it: axes without points would show a range that nothing was measured in. */
export function Chart(): ReactElement {
  const { rows, x, y } = useScene();
  if (!hasPoint(rows.values(), x, y)) {
    return <p className="dk-empty">The first point appears here as soon as a candidate is evaluated.</p>;
  }
  return <Drawn />;
}

function Drawn(): ReactElement {
  const bench = useBench();
  const scene = useScene();
  const theme = useTheme();
  const drawing = useDrawing(theme);
  const host = useRef<HTMLDivElement>(null);
  const over = useRef<HTMLDivElement>(null);
  const { failed, again, size } = useLive(host, drawing, theme);
  const hovered = useView(view => view.hovered);
  const pointer = usePointer(over, drawing, size);
  const id = useId();
  const words = useMemo(() => summary(drawing, scene), [drawing, scene]);
  const card = pointer.card === '' ? undefined : drawing.byKey.get(pointer.card);
  useEscape(over, card !== undefined, pointer.close);
  return (
    <div className="dk-chart">
      <div className="dk-chart-title-y" aria-hidden="true">
        <span>{drawing.y.title}</span>
      </div>
      <div className="dk-chart-plot">
        <div ref={host} className="dk-chart-canvas" aria-hidden="true" />
        <span className="dk-chart-better" aria-hidden="true">
          ↖ better
        </span>
        <div
          ref={over}
          className="dk-chart-over"
          role="application"
          aria-roledescription="chart"
          aria-label={words}
          aria-describedby={id}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: it is walked with arrow keys
          tabIndex={0}
          onKeyDown={event => onChartKeys(event, { bench, scene, drawing, walked: pointer.show })}
          onBlur={pointer.blur}
          {...pointer.handlers}
        >
          <BrushBox drawing={drawing} dragged={pointer.dragged} />
        </div>
        <span id={id} className="dk-unseen">
          Arrow keys left and right walk along the front, up and down through all points at that place. A and B mark, F
          shows the best trade-offs only, 0 fits, Enter opens the candidate.
        </span>
        {card && hovered === pointer.card && (
          <Card
            row={card.row}
            at={placed(drawing, size, card)}
            room={size}
            onEnter={pointer.enter}
            onLeave={pointer.leave}
          />
        )}
        <Problem words={failed}>
          <Button onClick={again}>Try again</Button>
        </Problem>
        {!failed && size.drawn === false ? (
          <div className="dk-chart-waiting">
            <Waiting what="drawing the chart" />
          </div>
        ) : null}
      </div>
      <div className="dk-chart-title-x" aria-hidden="true">
        {drawing.x.title}
      </div>
      <Under drawing={drawing}>
        <Button kind="link" onClick={() => bench.look({ zoom: 'usual' })}>
          Fit
        </Button>
        <Button kind="link" onClick={() => bench.look({ zoom: 'front' })}>
          Zoom to best trade-offs
        </Button>
      </Under>
    </div>
  );
}

/** Escape closes what is open, wherever in the Workbench the focus is; only then it is the way out. */
function useEscape(inside: React.RefObject<HTMLElement>, open: boolean, close: () => void): void {
  useEffect(() => {
    const whole = inside.current?.closest<HTMLElement>('.dk-Workbench');
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === 'Escape') {
        event.stopPropagation();
        close();
      }
    };
    if (open) {
      whole?.addEventListener('keydown', onKey);
    }
    return () => whole?.removeEventListener('keydown', onKey);
  }, [inside, open, close]);
}

function placed(drawing: IDrawing, size: ISize, point: { x: number; y: number }): [number, number] {
  const [x, y] = pixel(drawing, plotOf(size), point);
  return [x + ROOM.left, y + ROOM.top];
}

function useDrawing({ palette, surface }: ITheme): IDrawing {
  const { rows, judged, x, y, tradeoff, a, b, colorOf } = useScene();
  const brush = useView(view => view.brush);
  const hiddenRuntimes = useView(view => view.hiddenRuntimes);
  const hiddenFamilies = useView(view => view.hiddenFamilies);
  const frontOnly = useView(view => view.frontOnly);
  const zoom = useView(view => view.zoom);
  const before = useRef<IDrawing | null>(null);
  const drawing = useMemo(() => {
    const names = new Set([...rows.values()].map(row => row.runtime));
    return drawingOf({
      rows: rows.values(),
      judged,
      measures: measuresOf(tradeoff),
      x,
      y,
      limit: { value: tradeoff.limit, unit: tradeoff.unit },
      palette: {
        runtimes: new Map([...names].map(name => [name, palette[colorOf(name)] ?? '#888888'])),
        surface
      },
      must: [a, b],
      view: { brush, hiddenRuntimes, hiddenFamilies, frontOnly, failedOnly: false, zoom },
      before: before.current
    });
  }, [rows, judged, tradeoff, tradeoff.limit, tradeoff.unit, x, y, a, b, palette, surface, colorOf, brush, hiddenRuntimes, hiddenFamilies, frontOnly, zoom]); // biome-ignore format: one list
  before.current = drawing;
  return drawing;
}

/** Keeps the view in an element: made once, then patched. */
function useLive(
  host: React.RefObject<HTMLDivElement>,
  drawing: IDrawing,
  theme: ITheme
): { failed: string; again: () => void; size: ISize } {
  const [live, setLive] = useState<LiveChart | null>(null);
  const [failed, setFailed] = useState('');
  const [turn, setTurn] = useState(0);
  const [room, setRoom] = useState({ width: 0, height: 0 });
  const { spec, error, again: askAgain } = useSpec();
  const { a, b, tradeoff } = useScene();
  const hovered = useView(view => view.hovered);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new turn redraws it
  useEffect(() => {
    const element = host.current;
    if (!element || !spec) {
      return;
    }
    let made: LiveChart | null = null;
    let ended = false;
    const fail = (reason: unknown): void => {
      if (!ended) {
        setFailed(`The chart cannot be drawn here: ${reason instanceof Error ? reason.message : reason}`);
      }
    };
    LiveChart.make(element, spec, fail).then(chart => {
      made = chart;
      if (ended) {
        chart.finalize();
      } else {
        setLive(chart);
      }
    }, fail);
    return () => {
      ended = true;
      made?.finalize();
      setLive(null);
    };
  }, [host, spec, turn]);
  useEffect(() => {
    const element = host.current;
    if (!element) {
      return;
    }
    const resized = new ResizeObserver(([entry]) => {
      const { width, height } = entry?.contentRect ?? { width: 0, height: 0 };
      if (width > 0) {
        setRoom({ width, height });
      }
    });
    const seen = new IntersectionObserver(([entry]) => live?.show(entry?.isIntersecting ?? true));
    resized.observe(element);
    seen.observe(element);
    return () => {
      resized.disconnect();
      seen.disconnect();
    };
  }, [host, live]);
  useEffect(() => {
    if (live && room.width > 0) {
      live.resize(room.width, room.height);
    }
  }, [live, room]);
  useEffect(() => {
    if (live) {
      const data = { ...drawing.data, ...marksOf(drawing, a, b, hovered), ...starOf(drawing, tradeoff) };
      live.draw(signalsOf(drawing, theme), data);
    }
  }, [live, drawing, a, b, hovered, theme, tradeoff]);
  const size = useMemo(() => ({ ...room, drawn: live !== null }), [room, live]);
  const again = useCallback(() => {
    setFailed('');
    setTurn(old => old + 1);
    if (error) {
      askAgain();
    }
  }, [error, askAgain]);
  return { failed: failed || error, again, size };
}

/** What was brushed, or is being dragged over just now. */
function BrushBox({ drawing, dragged }: { drawing: IDrawing; dragged: IBox | null }): ReactElement | null {
  const brush = useView(view => view.brush);
  const style = dragged ?? brushed(drawing, brush);
  return style && <div className="dk-brush" style={style} />;
}
