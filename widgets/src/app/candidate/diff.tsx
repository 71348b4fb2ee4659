/** The graphs of the original and of a candidate as one diff: a list of nodes with their lines, and both sides of one. */

import { type ReactElement, type ReactNode, useId, useMemo, useRef, useState } from 'react';
import { Button, movedInList, Note, Problem, Toggle, useAnswer, useAsk, Waiting } from '../elements/parts';
import { DASH, fixed, minus, thousands } from '../format';
import { useBench } from '../store';
import type { DiffState, IDiff, IDiffNode, IDiffRow } from './facts';
import type { ISubject } from './parts';
import { type IRail, railsOf, readsAmong } from './rails';

/** Height of a row; rows that are shown at once, and rows around them that are drawn as well. */
const ROW = 26;
const SHOWN = 16;
const AROUND = 8;
/** Width of a lane, and how many are drawn apart. */
const LANE = 9;
const LANES = 7;

const MARKS: Record<DiffState, string> = { same: '=', changed: '~', added: '+', removed: '−', fused: '⊂' };
const SURE: Record<IDiffRow['matched'], string> = {
  '': '',
  name: 'by name: sure',
  weights: 'by equal weights: sure',
  layer: "by the layer's name in both formats: likely",
  structure: 'by their neighbors: likely',
  order: 'by their order: a guess'
};

export function Diff({ subject }: { subject: ISubject }): ReactElement {
  const asked = useAnswer<IDiff>('candidate_diff', { key: subject.keyOf, stamp: subject.stamp });
  const { ask } = useAsk();
  if (asked.error) {
    return (
      <Problem words={asked.error}>
        <Button onClick={asked.again}>Try again</Button>
      </Problem>
    );
  }
  if (asked.answer === null) {
    return <Waiting what="comparing both graphs" onCancel={() => void ask('candidate_diff_cancel')} />;
  }
  return <GraphDiff diff={asked.answer.value} keyOf={subject.keyOf} letter={subject.letter} />;
}

/** The diff itself. */
export function GraphDiff({ diff, keyOf, letter }: { diff: IDiff; keyOf: string; letter: string }): ReactElement {
  const bench = useBench();
  const [states, setStates] = useState<ReadonlySet<DiffState>>(new Set());
  const [byLoss, setByLoss] = useState(false);
  const [active, setActive] = useState(0);
  const [open, setOpen] = useState<number | null>(null);
  const [top, setTop] = useState(0);
  const list = useRef<HTMLDivElement>(null);
  const id = useId();
  const losing = useMemo(() => losingMost(diff.rows), [diff]);
  const shown = useMemo(
    () =>
      byLoss ? losing : diff.rows.flatMap((row, place) => (states.size === 0 || states.has(row.state) ? [place] : [])),
    [diff, states, byLoss, losing]
  );
  const rails = useMemo(() => {
    const found = railsOf(
      readsAmong(
        diff.rows.map(row => row.reads),
        shown
      )
    );
    return { found, width: LANE * (1 + Math.min(LANES, Math.max(0, ...found.map(rail => rail.own)))) };
  }, [diff, shown]);
  const worst = useMemo(
    () => Math.max(...diff.rows.map(row => (byLoss ? row.own : row.error) ?? 0), 1e-12),
    [diff, byLoss]
  );
  const here = Math.min(active, shown.length - 1);
  const first = Math.max(0, Math.floor(top / ROW) - AROUND);
  const drawn = shown.slice(first, first + SHOWN + 2 * AROUND).map((_, step) => first + step);
  const kept = here >= 0 && !drawn.includes(here) ? [...drawn, here] : drawn;
  const show = (place: number): void => {
    setActive(place);
    const box = list.current;
    if (box) {
      const [above, below] = [place * ROW, (place + 1) * ROW - box.clientHeight];
      box.scrollTop = box.scrollTop > above ? above : Math.max(box.scrollTop, below);
    }
  };
  const toggle = (place: number): void => {
    const row = shown[place] ?? null;
    setOpen(old => (old === row ? null : row));
    const node = row === null ? undefined : diff.rows[row];
    if (node) {
      bench.look({ layer: [node.name] });
    }
  };
  const filter = (wanted: readonly DiffState[], most = false): void => {
    setByLoss(old => most && !old);
    setStates(old => {
      const same = wanted.length === old.size && wanted.every(state => old.has(state));
      return new Set(same ? [] : wanted);
    });
    setActive(0);
    setTop(0);
    if (list.current) {
      list.current.scrollTop = 0;
    }
  };
  const differing = diff.counts.filter(([state, count]) => state !== 'same' && count > 0).map(([state]) => state);
  const chosen = open === null ? undefined : diff.rows[open];
  const isDiffering = states.size === differing.length && differing.every(state => states.has(state));
  return (
    <div className="dk-diff">
      <Note>{diff.summary}</Note>
      <div className="dk-chips" role="group" aria-label="Nodes that are shown">
        <Toggle pressed={states.size === 0 && !byLoss} onClick={() => filter([])}>
          All {thousands(diff.rows.length)}
        </Toggle>
        {differing.length > 0 && (
          <Toggle pressed={isDiffering && states.size > 0} onClick={() => filter(differing)}>
            What differs
          </Toggle>
        )}
        {losing.length > 0 && (
          <Toggle
            pressed={byLoss}
            onClick={() => filter([], true)}
            title="Nodes in the order of the error that comes in at them, not of what they pass on"
          >
            What loses most
          </Toggle>
        )}
        {diff.counts
          .filter(([, count]) => count > 0)
          .map(([state, count]) => (
            <Toggle
              key={state}
              pressed={states.size === 1 && states.has(state)}
              onClick={() => filter([state])}
              className={`dk-diff-${state}`}
            >
              <span className="dk-diff-mark" aria-hidden="true">
                {MARKS[state]}
              </span>{' '}
              {thousands(count)} {state}
            </Toggle>
          ))}
      </div>
      <div className="dk-diff-head" aria-hidden="true">
        <span style={{ width: rails.width + 30 }} />
        <span className="dk-diff-name">Node</span>
        <span className="dk-diff-number">µs</span>
        <span className="dk-diff-number dk-diff-wide">{byLoss ? 'Comes in' : 'Error'}</span>
      </div>
      <div
        ref={list}
        className="dk-diff-list"
        role="listbox"
        tabIndex={0}
        aria-label={`Nodes of ${letter} beside ${diff.before}. Enter shows both sides of a node.`}
        aria-activedescendant={shown.length > 0 ? `${id}-${here}` : undefined}
        style={{ maxHeight: SHOWN * ROW }}
        onScroll={event => setTop(event.currentTarget.scrollTop)}
        onKeyDown={event => {
          const next = movedInList(event.key, here, shown.length, SHOWN - 1);
          if (next !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
            event.preventDefault();
            show(next);
          } else if (event.key === 'Enter' || event.key === ' ') {
            event.preventDefault();
            toggle(here);
          } else if (event.key === 'Escape' && open !== null) {
            event.preventDefault();
            event.stopPropagation();
            setOpen(null);
          }
        }}
      >
        <div role="presentation" style={{ position: 'relative', height: shown.length * ROW }}>
          {kept.map(place => {
            const row = diff.rows[shown[place] ?? 0];
            const rail = rails.found[place];
            return (
              row &&
              rail && (
                <Node
                  key={shown[place]}
                  id={`${id}-${place}`}
                  row={row}
                  rail={rail}
                  width={rails.width}
                  place={place}
                  count={shown.length}
                  worst={worst}
                  value={byLoss ? row.own : row.error}
                  active={place === here}
                  open={shown[place] === open}
                  onClick={() => {
                    setActive(place);
                    toggle(place);
                  }}
                />
              )
            );
          })}
        </div>
      </div>
      <div role="status" className="dk-diff-chosen">
        {chosen ? (
          <Sides row={chosen} letter={letter}>
            {chosen.float && <KeepFloat key={open} keyOf={keyOf} place={open ?? 0} name={chosen.name} />}
          </Sides>
        ) : (
          <p className="dk-soft dk-small">Select a node (arrow keys, Enter) to see both sides of it.</p>
        )}
      </div>
      {diff.notes.map(note => (
        <Note key={note}>{note}</Note>
      ))}
    </div>
  );
}

function Node({
  id,
  row,
  rail,
  width,
  place,
  count,
  worst,
  value,
  active,
  open,
  onClick
}: {
  id: string;
  row: IDiffRow;
  rail: IRail;
  width: number;
  place: number;
  count: number;
  worst: number;
  /** The error that is shown. */
  value: number | null;
  active: boolean;
  open: boolean;
  onClick: () => void;
}): ReactElement {
  const words = [
    `${row.state}: ${row.operator} ${row.name}`,
    row.into && `into ${row.into}`,
    ...row.changes,
    row.error !== null && `error ${errorOf(row.error)}`
  ].filter(Boolean);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the list has the keys of its options
    // biome-ignore lint/a11y/useFocusableInteractive: the list has the focus, and says which option is active
    <div
      id={id}
      role="option"
      aria-selected={open}
      aria-posinset={place + 1}
      aria-setsize={count}
      aria-label={words.join(', ')}
      title={words.join('\n')}
      className={`dk-diff-row dk-diff-${row.state} ${active ? 'dk-on' : ''} ${open ? 'dk-diff-open' : ''}`}
      style={{ top: place * ROW, height: ROW }}
      onClick={onClick}
    >
      <Lines rail={rail} width={width} />
      <span className="dk-diff-mark">{MARKS[row.state]}</span>
      <span className="dk-diff-name">
        <b>{row.operator}</b>
        <span className="dk-soft dk-diff-path">
          <bdi>{ending(row.name)}</bdi>
        </span>
      </span>
      <span className="dk-diff-number">{timesOf(row)}</span>
      <span className="dk-diff-number dk-diff-wide">
        {value !== null && value > 0 && (
          <span className="dk-diff-bar" style={{ width: `${Math.min(100, (100 * value) / worst)}%` }} />
        )}
        <span>{errorOf(value)}</span>
      </span>
    </div>
  );
}

function Lines({ rail, width }: { rail: IRail; width: number }): ReactElement {
  const x = (lane: number): number => LANE * (Math.min(lane, LANES) + 0.5);
  const own = x(rail.own);
  return (
    <svg className="dk-diff-lines" width={width} height={ROW} aria-hidden="true">
      {rail.passing.map(lane => (
        <path key={lane} d={`M${x(lane)} 0V${ROW}`} />
      ))}
      {rail.from.map(lane => (
        <path key={`from ${lane}`} d={`M${x(lane)} 0C${x(lane)} ${ROW / 3} ${own} ${ROW / 6} ${own} ${ROW / 2}`} />
      ))}
      {rail.goesOn && <path d={`M${own} ${ROW / 2}V${ROW}`} />}
      <circle cx={own} cy={ROW / 2} r={3.2} />
    </svg>
  );
}

/** The end of a name, by which people know a node; what quantizers put behind it says no more than their operator. */
function ending(name: string): string {
  const first = name.split(';')[0] ?? name;
  return first
    .replace(/_(Quantize|Dequantize)Linear$/, '')
    .split('/')
    .slice(-2)
    .join('/');
}

function errorOf(value: number | null): string {
  if (value === null) {
    return DASH;
  }
  return value === 0 ? 'exact' : `${(100 * value).toPrecision(2)} %`;
}

/** Places of the rows at which error comes in, most of it first. */
function losingMost(rows: readonly IDiffRow[]): number[] {
  const found = rows.flatMap((row, place) => (row.own ? [place] : []));
  return found.sort((one, two) => (rows[two]?.own ?? 0) - (rows[one]?.own ?? 0));
}

function timesOf(row: IDiffRow): string {
  const [before, after] = row.times;
  if (before === null && after === null) {
    return DASH;
  }
  const one = (value: number | null): string => (value === null ? DASH : fixed(value, 1));
  return before === null ? `+${one(after)}` : `${one(before)} → ${one(after)}`;
}

/** A recipe in which the node stays float, as a candidate to try. */
function KeepFloat({ keyOf, place, name }: { keyOf: string; place: number; name: string }): ReactElement {
  const bench = useBench();
  const { ask, busy, error } = useAsk<string>();
  const [said, setSaid] = useState('');
  const add = async (): Promise<void> => {
    const answer = await ask('candidate_keep_float', { key: keyOf, row: place });
    if (answer !== null) {
      setSaid(answer.value);
      bench.say(answer.value, true);
    }
  };
  return (
    <div className="dk-diff-float">
      <Button
        reason={busy ? 'It is being added.' : ''}
        onClick={() => void add()}
        title={`Add this recipe with ${ending(name)} left in float to the space`}
      >
        Keep it in float
      </Button>
      {said && <Note>{said}</Note>}
      <Problem words={error} />
    </div>
  );
}

function Sides({ row, letter, children }: { row: IDiffRow; letter: string; children?: ReactNode }): ReactElement {
  const sides: [string, IDiffNode | null][] = [
    ['Original', row.before],
    [letter, row.after]
  ];
  const facts: [string, (node: IDiffNode) => string][] = [
    ['Name', node => node.name],
    ['Operator', node => node.operator],
    ['Output', node => (node.shape === null ? DASH : node.shape.map(size => size ?? '?').join(' × ') || 'one value')]
  ];
  const names = [...new Set(sides.flatMap(([, node]) => node?.attributes.map(([name]) => name) ?? []))];
  const settingOf = (node: IDiffNode | null, name: string): string =>
    node?.attributes.find(([known]) => known === name)?.[1] ?? DASH;
  return (
    <section aria-label={`Both sides of ${row.name}`}>
      <h4>
        <span className={`dk-diff-${row.state}`}>
          <span className="dk-diff-mark" aria-hidden="true">
            {MARKS[row.state]}
          </span>
        </span>{' '}
        {row.state[0]?.toUpperCase()}
        {row.state.slice(1)}
        {row.into && ` into ${row.into}`}
        {row.matched && <span className="dk-soft dk-small"> · paired {SURE[row.matched]}</span>}
      </h4>
      {row.changes.length > 0 && (
        <ul className="dk-small">
          {row.changes.map(change => (
            <li key={change}>{change}</li>
          ))}
        </ul>
      )}
      <p className="dk-small">
        Error of its output: {errorOf(row.error)}
        {row.snr !== null && ` (${minus(fixed(row.snr, 1))} dB SNR)`}
        {(row.own ?? 0) > 0 && `, of which ${errorOf(row.own)} comes in here`}
        {row.leftOut > 0 && `, over all but the ${row.leftOut} channels that were removed`}. Time, µs: {timesOf(row)}.
        {row.range &&
          ` Its numbers go from ${minus(row.range[0].toPrecision(4))} to ${minus(row.range[1].toPrecision(4))}.`}
        {(row.saturated ?? 0) > 0 && ` ${errorOf(row.saturated)} of the original's lie beyond and are cut off.`}
      </p>
      {children}
      <div className="dk-scroll">
        <table className="dk-table">
          <thead>
            <tr>
              <td />
              {sides.map(([head]) => (
                <th key={head} scope="col">
                  {head}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {facts.map(([label, tell]) => (
              <tr key={label}>
                <th scope="row">{label}</th>
                {sides.map(([head, node]) => (
                  <td key={head}>{node ? tell(node) : DASH}</td>
                ))}
              </tr>
            ))}
            <tr>
              <th scope="row">Constants</th>
              {sides.map(([head, node]) => (
                <td key={head}>
                  {node?.weights.map(([name, dims, stored], place) => (
                    // biome-ignore lint/suspicious/noArrayIndexKey: names need not be unique, the order is fixed
                    <div key={place}>
                      {ending(name)} <span className="dk-soft">{`${dims} ${stored}`}</span>
                    </div>
                  ))}
                  {(node?.weights.length ?? 0) === 0 && DASH}
                </td>
              ))}
            </tr>
            {names.map(name => (
              <tr key={name}>
                <th scope="row">{name}</th>
                {sides.map(([head, node]) => (
                  <td key={head}>{settingOf(node, name)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
