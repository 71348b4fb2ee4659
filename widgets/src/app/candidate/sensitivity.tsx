/** Sensitivity: layers by levels of techniques, what each loses alone, as a table with a number in every cell. */

import { type ReactElement, useRef, useState } from 'react';
import { Button, Note, Part, Problem, Toggle, useAnswer, useAsk, useMentioned } from '../elements/parts';
import { useAlive, useBench, useSection, useView } from '../store';
import {
  about,
  depth,
  groups,
  type ICandidate,
  type ICell,
  type ILevel,
  type ISensitivity,
  lost,
  sameLayer,
  withinNoise
} from './facts';
import { Asked, useNear, useRoving } from './parts';

type Score = 'drop' | 'fidelity';

export function Sensitivity({ stamp }: { stamp: string }): ReactElement {
  const root = useRef<HTMLDivElement>(null);
  const near = useNear(root);
  const section = useSection('candidate');
  const measuring = section?.measuring ?? null;
  const args = { stamp: `${stamp} ${measuring === null} ${section?.added ?? 0}` };
  const asked = useAnswer<ISensitivity>('candidate_sensitivity', args, near);
  const [score, setScore] = useState<Score>('drop');
  const measured = asked.answer?.value.levels.some(level => level.measured) ?? false;
  return (
    <div ref={root}>
      <Part
        title="Sensitivity"
        aside={
          measured ? (
            <div className="dk-chips" role="group" aria-label="What is lost">
              <Toggle pressed={score === 'drop'} onClick={() => setScore('drop')}>
                {section?.metric ?? 'metric'}
              </Toggle>
              <Toggle pressed={score === 'fidelity'} onClick={() => setScore('fidelity')}>
                fidelity
              </Toggle>
            </div>
          ) : undefined
        }
      >
        <Asked asked={asked} what="reading the results per layer">
          {table => <Table table={table} score={score} />}
        </Asked>
      </Part>
    </div>
  );
}

function Table({ table, score }: { table: ISensitivity; score: Score }): ReactElement {
  const { levels, layers, cells } = table;
  const roving = useRoving(Math.max(1, levels.length), layers.length * levels.length);
  const { ask, error } = useAsk<string>();
  const [said, setSaid] = useState('');
  const bench = useBench();
  const leaveOut = async (layer: number, level: number): Promise<void> => {
    const answer = await ask('candidate_leave_out', { layer, level });
    if (answer !== null) {
      setSaid(answer.value);
      bench.say(answer.value, true);
    }
  };
  if (levels.length === 0) {
    return <Note>No candidate uses a technique that can leave out individual layers.</Note>;
  }
  const found = groups(levels);
  const values = cells.flat().flatMap(cell => {
    const loss = cell[score];
    return loss && !withinNoise(loss) ? [loss[0]] : [];
  });
  const largest = Math.max(...values, 0);
  const unit = score === 'fidelity' || table.relative ? '%' : 'pp';
  return (
    <>
      <Note>
        {levels.some(level => level.measured)
          ? `${unit} lost when only that layer changes; gray: within the noise. Press Enter on a cell to leave that layer out.`
          : `The loss from each of the ${layers.length} layers is not measured yet.`}
      </Note>
      <div className="dk-scroll" hidden={!levels.some(level => level.measured)}>
        <table className="dk-heat" onKeyDown={roving.onKeyDown} onFocus={roving.onFocus}>
          <caption className="dk-unseen">Loss by layer and level, {unit}</caption>
          <thead>
            <tr>
              <td className="dk-heat-layer" />
              {found.map(group => (
                <th
                  key={group.levels[0]?.place}
                  scope="colgroup"
                  colSpan={group.levels.length}
                  className="dk-heat-group"
                >
                  {group.name}
                </th>
              ))}
            </tr>
            <tr>
              <td className="dk-heat-layer" />
              {found.flatMap(group =>
                group.levels.map(({ place, words }) => (
                  <th key={place} scope="col">
                    {words || 'all'}
                  </th>
                ))
              )}
            </tr>
          </thead>
          <tbody>
            {layers.map((layer, i) => (
              <LayerLine key={layer} layer={layer}>
                {levels.map((level, j) => (
                  // biome-ignore lint/suspicious/noArrayIndexKey: a cell is its place
                  <td key={j}>
                    <Cell
                      cell={cells[i]?.[j]}
                      score={score}
                      largest={largest}
                      unit={unit}
                      words={`${layer}, ${level.label}`}
                      tabIndex={roving.stop(i * levels.length + j)}
                      onLeaveOut={() => void leaveOut(i, j)}
                    />
                  </td>
                ))}
              </LayerLine>
            ))}
          </tbody>
        </table>
      </div>
      <ul className="dk-measures">
        {levels.map((level, place) => (
          <Measure
            // biome-ignore lint/suspicious/noArrayIndexKey: a level is its place
            key={place}
            place={place}
            level={level}
          />
        ))}
      </ul>
      {said && <Note>{said}</Note>}
      <Problem words={error} />
    </>
  );
}

function LayerLine({ layer, children }: { layer: string; children: ReactElement[] }): ReactElement {
  const selected = useView(view => sameLayer([layer], view.layer));
  return (
    <tr className={selected ? 'dk-why-selected' : undefined}>
      <th scope="row" className="dk-heat-layer" title={layer}>
        {layer}
      </th>
      {children}
    </tr>
  );
}

function Cell({
  cell,
  score,
  largest,
  unit,
  words,
  tabIndex,
  onLeaveOut
}: {
  cell: ICell | undefined;
  score: Score;
  largest: number;
  unit: string;
  words: string;
  tabIndex: 0 | -1;
  onLeaveOut: () => void;
}): ReactElement {
  const interval = cell?.[score] ?? null;
  const known = cell?.known ?? false;
  const can = cell?.added
    ? 'Left out of the space. Press to undo.'
    : known
      ? 'Press to leave this layer out.'
      : 'Measure this level first: the name it uses for this layer is not known yet.';
  const noise = interval !== null && withinNoise(interval);
  const deep = interval && !noise ? depth(interval[0], largest) : 0;
  const value = interval ? lost(interval) : '·';
  const around = interval ? ` [${lost([interval[1], 0, 0])}, ${lost([interval[2], 0, 0])}]` : '';
  const told = interval ? `${value} ${unit} lost${noise ? ', within the noise' : ''}` : cell?.problem || 'not measured';
  return (
    <button
      type="button"
      data-item
      tabIndex={tabIndex}
      className={`dk-heat-cell ${noise ? 'dk-heat-noise' : ''} ${deep > 0.57 ? 'dk-heat-half' : ''} ${deep > 0.76 ? 'dk-heat-deep' : ''}`}
      style={{ '--dk-depth': `${Math.round(100 * deep)}%` } as React.CSSProperties}
      aria-label={`${words}: ${told}${cell?.added ? ', left out of the space' : ''}`}
      aria-pressed={cell?.added ?? false}
      title={`${told}${around}. ${can}`}
      aria-disabled={!known || undefined}
      onClick={known ? onLeaveOut : undefined}
    >
      {value}
    </button>
  );
}

function Measure({ place, level }: { place: number; level: ILevel }): ReactElement | null {
  const { ask, error } = useAsk();
  const measuring = useSection('candidate')?.measuring ?? null;
  const alive = useAlive();
  if (level.measured) {
    return null;
  }
  const { label, seconds } = level;
  if (measuring?.level === place) {
    return <Measuring {...measuring} />;
  }
  return (
    <li>
      <Button
        kind="link"
        disabled={!alive}
        reason={measuring === null ? '' : `${measuring.label} is being measured.`}
        onClick={() => void ask('candidate_measure', { level: place })}
      >
        Measure {label}
        {seconds !== null && `, ${about(seconds)}`}
      </Button>
      <Problem words={error} />
    </li>
  );
}

function Measuring({ label, done, total }: NonNullable<ICandidate['measuring']>): ReactElement {
  const words = `Measuring ${label}: ${total > 0 ? `${done} of ${total}` : 'starting'}`;
  useMentioned('sensitivity', words);
  return <li className="dk-soft">{words}</li>;
}
