/** Whether confidences still say how often a candidate is right: accuracy over confidence, before and after. */

import type { ReactElement } from 'react';
import { Note, useAnswer } from '../elements/parts';
import { fixed, thousands } from '../format';
import type { ICalibration } from './facts';
import { Asked, type ISubject } from './parts';

const SIDE = 200;

type Bin = ICalibration['rows'][number];

export function Calibration({ subject, against }: { subject: ISubject; against: string }): ReactElement {
  const asked = useAnswer<ICalibration>('candidate_calibration', { key: subject.keyOf, against, stamp: subject.stamp });
  return (
    <Asked asked={asked} what="comparing confidences">
      {({ rows, summary, reason }) =>
        reason ? (
          <Note>{reason}</Note>
        ) : (
          <>
            <Note>{summary}</Note>
            <Diagram rows={rows} summary={summary} letter={subject.letter} />
            <div className="dk-scroll">
              <table className="dk-table">
                <thead>
                  <tr>
                    <th scope="col">Confidence, %</th>
                    <th scope="col">Of</th>
                    <th scope="col" className="dk-n">
                      Examples
                    </th>
                    <th scope="col" className="dk-n">
                      Right, %
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {rows.map(row => (
                    <tr key={`${row.side} ${row.low}`}>
                      <th scope="row">{fixed(100 * row.confidence, 1)}</th>
                      <td>{row.side === 'before' ? 'before' : subject.letter}</td>
                      <td className="dk-n">{thousands(row.examples)}</td>
                      <td className="dk-n">
                        {fixed(100 * row.accuracy[0], 1)}{' '}
                        <span className="dk-soft">
                          [{fixed(100 * row.accuracy[1], 1)}, {fixed(100 * row.accuracy[2], 1)}]
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

/** On the diagonal, confidences say how often it is right. */
function Diagram({ rows, summary, letter }: { rows: Bin[]; summary: string; letter: string }): ReactElement {
  return (
    <figure className="dk-calibration">
      <svg viewBox={`0 0 ${SIDE} ${SIDE}`} role="img" aria-label={`Accuracy over confidence. ${summary}`}>
        <rect className="dk-calibration-frame" width={SIDE} height={SIDE} />
        <path className="dk-calibration-ideal" d={`M0 ${SIDE}L${SIDE} 0`} />
        {rows.map(row => (
          <Mark key={`${row.side} ${row.low}`} row={row} />
        ))}
      </svg>
      <figcaption className="dk-soft dk-small">
        Up: share that is right, 0 to 100 %; across: confidence, 0 to 100 %. <b className="dk-calibration-before">○</b>{' '}
        before, <b className="dk-calibration-after">◆</b> {letter}; lines are 95 % intervals.
      </figcaption>
    </figure>
  );
}

function Mark({ row }: { row: Bin }): ReactElement {
  const [x, y, low, high] = [row.confidence, ...row.accuracy.map(share => 1 - share)].map(share => SIDE * share) as [
    number,
    number,
    number,
    number
  ];
  return (
    <g className={`dk-calibration-${row.side}`}>
      <path d={`M${x} ${low}V${high}`} />
      {row.side === 'before' ? (
        <circle cx={x} cy={y} r={4} />
      ) : (
        <path className="dk-calibration-mark" d={`M${x} ${y - 5}L${x + 5} ${y}L${x} ${y + 5}L${x - 5} ${y}Z`} />
      )}
    </g>
  );
}
