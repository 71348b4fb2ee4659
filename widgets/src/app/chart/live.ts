/** One Vega view that lives as long as the chart: its data are patched, never replaced as a whole. */

import type { View } from 'vega';
import { chartParts } from '../../charts/parts';
import type { ITheme } from '../tradeoff/theme';
import type { IAxis } from './axes';
import type { Datasets, Datum, IDrawing } from './points';

/** Room around the plot, in pixels. */
export const ROOM = { left: 46, right: 10, top: 8, bottom: 24 } as const;

/** A point is pointed at from this far. */
export const NEAR_PX = 20;

/** Room of the chart, and whether something was drawn yet. */
export interface ISize {
  width: number;
  height: number;
  drawn: boolean;
}

/** The plot's part of the chart's room. */
export function plotOf({ width, height }: { width: number; height: number }): { width: number; height: number } {
  return { width: width - ROOM.left - ROOM.right, height: height - ROOM.top - ROOM.bottom };
}

export type Signals = Readonly<Record<string, unknown>>;

interface IWanted {
  signals: Signals;
  data: Datasets;
}

export class LiveChart {
  /**
   * Make the view in an element; it shows nothing yet.
   *
   * @param onFail Called when it can no longer be drawn; nothing is drawn after that.
   */
  static async make(
    host: HTMLElement,
    spec: Record<string, unknown>,
    onFail: (reason: unknown) => void
  ): Promise<LiveChart> {
    const { embed, options, changeset } = await chartParts();
    const made = { ...spec, padding: ROOM, config: { ...(spec.config as object), font: fontOf(host) } };
    const result = await embed(host, made as unknown as Parameters<typeof embed>[1], {
      ...options,
      renderer: 'canvas',
      actions: false,
      tooltip: false,
      hover: false
    });
    const chart = new LiveChart(result.view, () => result.finalize(), changeset, host, onFail);
    const log = result.view.logger();
    const { error } = log;
    log.error = (...what) => {
      chart.fail(what[0]); // Vega keeps errors of drawing to itself, but for the log
      return error.apply(log, what);
    };
    return chart;
  }

  private constructor(
    private readonly view: View,
    private readonly end: () => void,
    private readonly changeset: typeof import('vega').changeset,
    private readonly host: HTMLElement,
    private readonly onFail: (reason: unknown) => void
  ) {}

  /** Draw; while it is hidden only the latest wish is kept. */
  draw(signals: Signals, data: Datasets): void {
    this.wanted = { signals, data };
    this.soon();
  }

  resize(width: number, height: number): void {
    this.size = [Math.max(1, width - ROOM.left - ROOM.right), Math.max(1, height - ROOM.top - ROOM.bottom)];
    this.soon();
  }

  /** Whether anybody can see it. */
  show(visible: boolean): void {
    this.visible = visible;
    this.soon();
  }

  finalize(): void {
    this.ended = true;
    this.wanted = null;
    this.drawn.clear();
    this.end();
  }

  private soon(): void {
    if (this.visible && !this.running && !this.ended && !this.failed) {
      this.running = true;
      void this.run();
    }
  }

  private async run(): Promise<void> {
    try {
      while (this.visible && !this.ended && !this.failed && (this.wanted !== null || this.size !== null)) {
        this.put();
        await this.view.runAsync();
        this.count += 1;
        this.host.dataset.drawn = String(this.count); // tests wait for it
      }
    } catch (reason) {
      this.fail(reason);
    } finally {
      this.running = false;
    }
  }

  private fail(reason: unknown): void {
    if (!this.failed) {
      this.failed = true;
      this.onFail(reason);
    }
  }

  private put(): void {
    const { wanted, size, view } = this;
    this.wanted = null;
    this.size = null;
    if (size !== null) {
      view.width(size[0]).height(size[1]);
    }
    for (const [name, value] of Object.entries(wanted?.signals ?? {})) {
      if (!same(this.signals.get(name), value)) {
        this.signals.set(name, value);
        view.signal(name, value);
      }
    }
    for (const [name, rows] of Object.entries(wanted?.data ?? {})) {
      this.patch(name, rows);
    }
  }

  private patch(name: string, rows: readonly Datum[]): void {
    const old = this.drawn.get(name);
    if (old?.rows === rows) {
      return;
    }
    const { insert, remove, kept } = patchOf(old?.kept ?? new Map(), rows);
    this.drawn.set(name, { rows, kept });
    if (insert.length > 0 || remove.length > 0) {
      const changes = this.changeset().insert(insert as object[]);
      this.view.change(name, remove.length > 0 ? changes.remove(remove as object[]) : changes);
    }
  }

  private readonly drawn = new Map<string, { rows: readonly Datum[]; kept: Map<string, Datum> }>();
  private readonly signals = new Map<string, unknown>();
  private wanted: IWanted | null = null;
  private size: [number, number] | null = null;
  private visible = true;
  private running = false;
  private ended = false;
  private failed = false;
  private count = 0;
}

/**
 * What changes between two states of a dataset: rows that look the same stay the same objects, as Vega knows them.
 *
 * @param old Rows as they were inserted, by key.
 */
export function patchOf(
  old: ReadonlyMap<string, Datum>,
  rows: readonly Datum[]
): { insert: Datum[]; remove: Datum[]; kept: Map<string, Datum> } {
  const kept = new Map<string, Datum>();
  const insert: Datum[] = [];
  const remove: Datum[] = [];
  for (const row of rows) {
    const before = old.get(row.key);
    if (before !== undefined && looksSame(before, row)) {
      kept.set(row.key, before);
    } else {
      const copy = { ...row }; // Vega marks its rows, so they are its own
      kept.set(row.key, copy);
      insert.push(copy);
      if (before !== undefined) {
        remove.push(before);
      }
    }
  }
  for (const [key, before] of old) {
    if (!kept.has(key)) {
      remove.push(before);
    }
  }
  return { insert, remove, kept };
}

function looksSame(one: Datum, other: Datum): boolean {
  for (const name in other) {
    if (one[name] !== other[name]) {
      return false;
    }
  }
  return true;
}

function same(one: unknown, other: unknown): boolean {
  return Array.isArray(one) && Array.isArray(other)
    ? one.length === other.length && one.every((value, at) => value === other[at])
    : one === other;
}

/** The axes and the theme, as the chart's parameters. */
export function signalsOf({ x, y }: IDrawing, { ink, muted, line, blue, bandOpacity }: ITheme): Signals {
  return { ...stretch('x', x), ...stretch('y', y), ink, muted, line, blue, bandOpacity };
}

function stretch(name: string, axis: IAxis): Signals {
  return {
    [`${name}0`]: axis.low,
    [`${name}1`]: axis.high,
    [`${name}ticks`]: axis.ticks,
    [`${name}labels`]: axis.labels
  };
}

function fontOf(host: Element): string {
  return getComputedStyle(host).fontFamily || 'sans-serif';
}
