/** Closed parts of the Candidate panel: classes, calibration, weights, recipe, graphs. Each asks when it is opened. */

import { type ReactElement, useState } from 'react';
import { Button, Fold, Note, Problem, useAnswer } from '../elements/parts';
import { fixed, minus, percent, thousands } from '../format';
import { graphTitle, located, OUTSIDE, openGraph } from '../graphs';
import { host } from '../host';
import { Calibration } from './calibration';
import { Diff } from './diff';
import { type IClasses, type IFile, type IGraphs, type IRecipe, type IWeights, outline } from './facts';
import { Asked, type ISubject } from './parts';

const FEW = 8;

export function Details({ subject, against }: { subject: ISubject; against: string }): ReactElement {
  return (
    <>
      <Fold title="Per class">{() => <Classes subject={subject} against={against} />}</Fold>
      <Fold title="Calibration">{() => <Calibration subject={subject} against={against} />}</Fold>
      <Fold title="Channels, weights and sparsity">{() => <Weights subject={subject} />}</Fold>
      <Fold title="Recipe">{() => <Recipe subject={subject} />}</Fold>
      <Fold title="Graph diff">{() => <Diff subject={subject} />}</Fold>
      <Fold title="Graphs side by side">{() => <Graphs subject={subject} />}</Fold>
    </>
  );
}

function Classes({ subject, against }: { subject: ISubject; against: string }): ReactElement {
  const asked = useAnswer<IClasses>('candidate_classes', { key: subject.keyOf, against, stamp: subject.stamp });
  return (
    <Asked asked={asked} what="comparing classes">
      {({ rows, summary, reason }) =>
        reason ? (
          <Note>{reason}</Note>
        ) : (
          <>
            <Note>{summary}</Note>
            <div className="dk-scroll">
              <table className="dk-table">
                <thead>
                  <tr>
                    <th scope="col">Class, examples</th>
                    <th scope="col" className="dk-n">
                      Before → after, %
                    </th>
                    <th scope="col" className="dk-n">
                      Change, pp
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {rows.map((row, place) => (
                    // biome-ignore lint/suspicious/noArrayIndexKey: two classes may have one name
                    <tr key={place}>
                      <th scope="row">
                        {row.name} <span className="dk-soft">{thousands(row.examples)}</span>{' '}
                        {row.sure && <span className="dk-badge dk-badge-warn">confirmed</span>}
                      </th>
                      <td className="dk-n">
                        {fixed(100 * row.before, 1)} → {fixed(100 * row.after, 1)}
                      </td>
                      <td className="dk-n" title={`${row.better} newly right, ${row.worse} newly wrong`}>
                        {fixed(100 * row.change[0], 1)}{' '}
                        <span className="dk-soft">
                          [{fixed(100 * row.change[1], 1)}, {fixed(100 * row.change[2], 1)}]
                        </span>
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </>
        )
      }
    </Asked>
  );
}

function Weights({ subject }: { subject: ISubject }): ReactElement {
  const asked = useAnswer<IWeights>('candidate_weights', { key: subject.keyOf, stamp: subject.stamp });
  const [all, setAll] = useState(false);
  return (
    <Asked asked={asked} what="reading the weights of both files">
      {({ rows, summary, notes, before, channels }) => (
        <>
          {channels.length > 0 && <Channels layers={channels} />}
          <Note>{summary}</Note>
          {notes.map(note => (
            <Note key={note}>{note}</Note>
          ))}
          <p className="dk-soft dk-small dk-hist-legend">
            <span className="dk-hist-key dk-hist-before" /> {before} <span className="dk-hist-key dk-hist-after" />{' '}
            {subject.letter}
          </p>
          <ul className="dk-hists">
            {(all ? rows : rows.slice(0, FEW)).map((row, place) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: names need not be unique, the order is fixed
              <li key={place}>
                <Tensor row={row} />
              </li>
            ))}
          </ul>
          {rows.length > FEW && (
            <Button kind="link" aria-expanded={all} onClick={() => setAll(!all)}>
              {all ? `Show the first ${FEW}` : `Show all ${rows.length}`}
            </Button>
          )}
        </>
      )}
    </Asked>
  );
}

function Channels({ layers }: { layers: IWeights['channels'] }): ReactElement {
  const most = Math.max(...layers.map(layer => layer.before));
  return (
    <div className="dk-scroll">
      <table className="dk-table">
        <thead>
          <tr>
            <th scope="col">Layer</th>
            <th scope="col">Channels</th>
            <th scope="col" className="dk-n">
              Before → after
            </th>
          </tr>
        </thead>
        <tbody>
          {layers.map(({ layer, name, before, after }) => (
            <tr key={layer}>
              <th scope="row" title={layer}>
                {name}
              </th>
              <td>
                <span className="dk-channels" style={{ width: `${(100 * before) / most}%` }}>
                  <span style={{ width: `${(100 * after) / before}%` }} />
                </span>
              </td>
              <td className="dk-n">
                {before} → {after}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const [WIDTH, HEIGHT] = [120, 34];

function Tensor({ row }: { row: IWeights['rows'][number] }): ReactElement {
  const { before, after } = row;
  const either = after ?? before;
  const zeros = `zeros ${before ? percent(before.zeros) : '—'} → ${after ? percent(after.zeros) : '—'}`;
  const stored =
    before && after && before.stored === after.stored
      ? after.stored
      : `${before?.stored ?? '—'} → ${after?.stored ?? '—'}`;
  const [low, high] = row.edges;
  const words = `Histogram of ${row.layer}, from ${minus(low.toPrecision(2))} to ${high.toPrecision(2)}: ${zeros}`;
  return (
    <>
      <svg className="dk-hist" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={words}>
        {after && after.histogram.length > 0 && (
          <path className="dk-hist-after" d={outline(after.histogram, WIDTH, HEIGHT)} />
        )}
        {before && before.histogram.length > 0 && (
          <path className="dk-hist-before" d={outline(before.histogram, WIDTH, HEIGHT)} />
        )}
      </svg>
      <div className="dk-hist-words">
        <b title={either?.name}>{row.layer}</b>
        <span>
          {zeros}
          <span className="dk-soft"> · {stored}</span>
        </span>
        <span className="dk-soft">
          {row.matched === ''
            ? `only ${after ? 'after' : 'before'}: no match was found`
            : `±${high.toPrecision(2)} · ${either?.shape.join(' × ') ?? ''}${row.matched === 'name' ? '' : ` · matched by ${row.matched}`}`}
        </span>
      </div>
    </>
  );
}

function Recipe({ subject }: { subject: ISubject }): ReactElement {
  const asked = useAnswer<IRecipe>('candidate_recipe', { key: subject.keyOf, stamp: subject.stamp });
  return (
    <Asked asked={asked} what="reading the recipe">
      {recipe => (
        <>
          {recipe.steps.length === 0 && <Note>No steps: this is the original model.</Note>}
          <ol className="dk-steps">
            {recipe.steps.map((step, place) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: a step is its place
              <li key={place}>
                <b>{step.name}</b>
                <Facts pairs={step.parameters} />
              </li>
            ))}
          </ol>
          <Facts title="What the steps reported" pairs={recipe.notes} />
          <Facts title="File" pairs={recipe.file} />
          <Facts title="Measured on" pairs={recipe.machine} />
          <Facts title="Versions" pairs={recipe.packages} />
          {recipe.suggested.length > 0 && (
            <Facts title="Worth trying" pairs={recipe.suggested.map(words => ['recipe', words])} />
          )}
        </>
      )}
    </Asked>
  );
}

function Facts({ title = '', pairs }: { title?: string; pairs: [string, string][] }): ReactElement | null {
  if (pairs.length === 0) {
    return null;
  }
  return (
    <>
      {title && <h4 className="dk-recipe-facts-title">{title}</h4>}
      <dl className="dk-recipe-facts">
        {pairs.map(([name, value], place) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: names need not be unique
          <div key={place}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

function Graphs({ subject }: { subject: ISubject }): ReactElement {
  const asked = useAnswer<IGraphs>('candidate_graphs', { key: subject.keyOf, stamp: subject.stamp });
  const [problem, setProblem] = useState('');
  const open = async (...files: (IFile | null)[]): Promise<void> => {
    const known = files.filter(file => file !== null);
    const paths = await Promise.all(known.map(located));
    if (paths.includes(null)) {
      setProblem(OUTSIDE);
      return;
    }
    setProblem('');
    for (const [place, file] of known.entries()) {
      await openGraph(paths[place] ?? '', file.folder, file.title, place > 0);
    }
  };
  const named = (file: IFile | null): IFile | null =>
    file && { ...file, title: graphTitle(subject.letter, file.title) };
  return (
    <div>
      <Asked asked={asked} what="looking for both files">
        {({ given, before, after }) =>
          host().openFile === null ? (
            <Note>
              Graphs open in JupyterLab. Here the files are{' '}
              {[before, after].flatMap(file => file?.shown ?? []).join(' and ')}.
            </Note>
          ) : (
            <>
              <Note>
                Both graphs open side by side, with the original model in the format of the candidate. A layer you
                select in either graph is highlighted in this panel.
              </Note>
              <div className="dk-chips">
                <Button icon="graph" disabled={!before || !after} onClick={() => void open(before, named(after))}>
                  Open both
                </Button>
                <Button disabled={!given} onClick={() => void open(given)}>
                  Original model
                </Button>
                <Button disabled={!after} onClick={() => void open(named(after))}>
                  Candidate {subject.letter}
                </Button>
              </div>
              {(!before || !after) && <Note>A file is no longer in the store. Run the same sweep again.</Note>}
            </>
          )
        }
      </Asked>
      <Problem words={problem} />
    </div>
  );
}
