/** Candidate: A and B, the verdict, their numbers beside the baseline's, and the evidence. */

import { type ReactElement, useId, useState } from 'react';
import { Icon } from '../elements/icons';
import { onArrowKeys, useAnswer } from '../elements/parts';
import type { IRow } from '../rows';
import { useRows, useSection, useView } from '../store';
import { Again } from '../sweep/again';
import { Details } from './details';
import { type ICandidate, type IFacts, type IWhy, numbersOf } from './facts';
import { Flips } from './flips';
import { useSelectedInCandidate } from './layers';
import { Asked, type ISubject } from './parts';
import { Sensitivity } from './sensitivity';
import { Why } from './why';

declare module '../protocol' {
  interface ISections {
    candidate: ICandidate;
  }
}

type Letter = 'A' | 'B';

export default function CandidatePanel(): ReactElement | null {
  const section = useSection('candidate');
  const rows = useRows();
  const picked = useView(view => view.a);
  const b = useView(view => view.b);
  const [letter, setLetter] = useState<Letter>('A');
  const id = useId();
  const a = picked || (section?.best ?? '');
  const shown: Letter = letter === 'B' && b ? 'B' : 'A';
  const key = shown === 'A' ? a : b;
  useSelectedInCandidate(key);
  if (section === undefined) {
    return null;
  }
  if (!a) {
    return <p className="dk-empty">Select a point or a row.</p>;
  }
  const other = shown === 'A' ? b : a;
  return (
    <div className="dk-candidate">
      <div
        className="dk-candidate-tabs"
        role="tablist"
        aria-label="Compared candidates"
        onKeyDown={event => onArrowKeys(event, '[role=tab]:not([aria-disabled=true])')}
      >
        <CandidateTab
          id={id}
          letter="A"
          row={rows.get(a)}
          name={a}
          aside={picked ? '' : 'best so far'}
          shown={shown === 'A'}
          onShow={setLetter}
        />
        <CandidateTab id={id} letter="B" row={rows.get(b)} name={b} aside="" shown={shown === 'B'} onShow={setLetter} />
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${shown}`}>
        <Evidence key={key} keyOf={key} letter={shown} other={other} section={section} a={a} b={b} />
      </div>
    </div>
  );
}

function CandidateTab({
  id,
  letter,
  row,
  name,
  aside,
  shown,
  onShow
}: {
  id: string;
  letter: Letter;
  row: IRow | undefined;
  name: string;
  aside: string;
  shown: boolean;
  onShow: (letter: Letter) => void;
}): ReactElement {
  return (
    <button
      type="button"
      role="tab"
      id={`${id}-${letter}`}
      className="dk-candidate-tab"
      aria-selected={shown}
      aria-disabled={!name || undefined}
      aria-controls={`${id}-panel`}
      tabIndex={shown ? 0 : -1}
      onClick={() => name && onShow(letter)}
    >
      <span className={`dk-ab ${letter === 'B' ? 'dk-ab-b' : ''}`}>{letter}</span>
      <span className="dk-candidate-name">
        {name ? (
          <>
            <b title={row?.name ?? name}>{row?.name ?? name}</b>
            <span className="dk-soft">
              {row?.where}
              {aside && ` · ${aside}`}
            </span>
          </>
        ) : (
          <span className="dk-soft">Shift+click another point, or press B, to compare.</span>
        )}
      </span>
    </button>
  );
}

/** Changes when a candidate was measured again, so that what is known of it is asked for again. */
function stampOf(row: IRow | undefined): string {
  return row === undefined ? '' : [row.status, row.p50?.join(), row.score, row.speedup?.join()].join(' ');
}

function Evidence({
  keyOf,
  letter,
  other,
  section,
  a,
  b
}: {
  keyOf: string;
  letter: Letter;
  other: string;
  section: ICandidate;
  a: string;
  b: string;
}): ReactElement {
  const rows = useRows();
  const row = rows.get(keyOf);
  const stamp = stampOf(row);
  const both = a && b && a !== b;
  // The sentence about both always tells of B beside A.
  const compared = { key: a, other: b, stamp: `${stampOf(rows.get(a))} ${stampOf(rows.get(b))}` };
  const asked = useAnswer<IFacts>('candidate_facts', { key: keyOf, stamp: `${stamp} ${section.limit ?? ''}` });
  const pair = useAnswer<IFacts>('candidate_facts', compared, Boolean(both));
  const subject: ISubject = { keyOf, letter, stamp };
  const facts = asked.answer?.value;
  const measured = row === undefined || row.score !== null;
  const baseline = keyOf === section.baseline;
  return (
    <>
      <div className="dk-verdict-box">
        <Asked asked={asked} what="reading the results">
          {found => <Verdict facts={found} compare={both ? (pair.answer?.value.compare ?? '') : ''} />}
        </Asked>
        {row?.failure?.log && (
          <p className="dk-note">
            Log: <code>{row.failure.log}</code> in the store.
          </p>
        )}
        {row && <Again row={row} />}
      </div>
      <Numbers
        section={section}
        a={rows.get(a)}
        b={b ? rows.get(b) : undefined}
        baseline={rows.get(section.baseline)}
      />
      <div className="dk-evidence">
        {facts?.why && !baseline && (
          <div className="dk-evidence-why">
            <Why why={without(facts.why, facts.verdict.detail)} kind={facts.verdict.kind} subject={subject} />
          </div>
        )}
        {measured && !baseline && row?.status !== 'failed' && (
          <div className="dk-evidence-flips">
            <Flips subject={subject} against="" />
          </div>
        )}
        <div className="dk-evidence-sensitivity">
          <Sensitivity stamp={section.baseline} />
        </div>
      </div>
      {row?.status !== 'failed' && <Details subject={subject} against={other && baseline ? other : ''} />}
    </>
  );
}

/** Causes without what the verdict has said already. */
function without(why: IWhy, said: string): IWhy {
  const fresh = (words: string): string => (words && said.includes(words) ? '' : words);
  return { ...why, cause: fresh(why.cause), remedy: fresh(why.remedy) };
}

const MARKS = { good: 'check', bad: 'warning', neutral: null } as const;

function Verdict({ facts, compare }: { facts: IFacts; compare: string }): ReactElement {
  const { headline, detail, tone, kind } = facts.verdict;
  const mark = kind === 'screened' ? 'clock' : kind === 'baseline' ? null : MARKS[tone];
  return (
    <div className={`dk-verdict dk-verdict-${tone}`}>
      {mark && <Icon name={mark} />}
      <p>
        <b>{headline}</b> {detail}
        {compare && <span className="dk-verdict-pair"> {compare}</span>}
      </p>
    </div>
  );
}

function Numbers({
  section,
  a,
  b,
  baseline
}: {
  section: ICandidate;
  a: IRow | undefined;
  b: IRow | undefined;
  baseline: IRow | undefined;
}): ReactElement | null {
  if (baseline === undefined) {
    return null;
  }
  const shown = [
    ['Baseline', baseline] as const,
    ...(['A', 'B'] as const).flatMap(head => {
      const row = head === 'A' ? a : b;
      return row && row !== baseline && row.score !== null ? [[head, row] as const] : [];
    })
  ];
  const heads = shown.map(([head]) => head);
  const columns = shown.map(([, row]) => row);
  return (
    <div className="dk-part">
      <table className={`dk-numbers ${columns.length > 2 ? 'dk-numbers-three' : ''}`}>
        <caption className="dk-unseen">Numbers of the baseline and of the compared candidates</caption>
        <thead>
          <tr>
            <td />
            {heads.map(head => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {numbersOf(columns, section.metric, section.relative).map(({ label, cells }) => (
            <tr key={label}>
              <th scope="row">{label}</th>
              {cells.map((cell, place) => (
                <td key={heads[place]} title={cell.around && `${cell.value} ${cell.around}`}>
                  {cell.value} {cell.around && <span className="dk-soft">{cell.around}</span>}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
