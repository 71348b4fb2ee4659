/** One flipped prediction, enlarged: its picture, the best answers before and after, and both models run again on it. */

import { type ReactElement, useEffect, useId, useRef } from 'react';
import { Button, Problem, useAnswer, useAsk } from '../elements/parts';
import { BLANK, usePictures } from '../elements/pictures';
import { fixed, thousands } from '../format';
import type { Guess, IFlip, IFlips, IRests, ISample, ITried } from './facts';
import { Asked, type ISubject } from './parts';
import { Rests } from './rests';

export interface ITile extends IFlip {
  bytes: DataView | null;
}

/** One example beside the best answers of both models. */
export function Enlarged({
  tile,
  subject,
  against,
  flips,
  first,
  last,
  onClose,
  onStep
}: {
  tile: ITile;
  subject: ISubject;
  against: string;
  flips: IFlips;
  first: boolean;
  last: boolean;
  onClose: () => void;
  onStep: (step: number) => void;
}): ReactElement {
  const root = useRef<HTMLDivElement>(null);
  const asked = useAnswer<ISample>('candidate_sample', { key: subject.keyOf, example: tile.example });
  const again = useAsk<ITried>();
  const rests = useAsk<IRests>();
  const { clear } = again;
  const { clear: clearRests } = rests;
  const title = useId();
  // biome-ignore lint/correctness/useExhaustiveDependencies: another example
  useEffect(() => {
    clear();
    clearRests();
    if (!root.current?.contains(document.activeElement)) {
      root.current?.focus();
    }
  }, [clear, clearRests, tile.example]);
  const tried = again.answer?.value;
  return (
    <div
      ref={root}
      role="dialog"
      aria-labelledby={title}
      tabIndex={-1}
      className="dk-enlarged"
      onKeyDown={event => {
        if (event.key === 'Escape') {
          event.preventDefault();
          event.stopPropagation();
          onClose();
        } else if (event.target === root.current && (event.key === 'ArrowLeft' || event.key === 'ArrowRight')) {
          event.preventDefault();
          onStep(event.key === 'ArrowLeft' ? -1 : 1);
        }
      }}
    >
      <div className="dk-part-head">
        <b id={title}>
          Sample {thousands(tile.example)}
          {tile.label && `: ${tile.label}`}
        </b>
        <span className="dk-grow" />
        <Button
          kind="quiet"
          reason={first ? 'This is the first example.' : ''}
          onClick={() => onStep(-1)}
          aria-label="Previous example"
        >
          ‹
        </Button>
        <Button
          kind="quiet"
          reason={last ? 'This is the last example shown.' : ''}
          onClick={() => onStep(1)}
          aria-label="Next example"
        >
          ›
        </Button>
        <Button kind="quiet" icon="close" onClick={onClose} aria-label="Close the example" />
      </div>
      <div className="dk-enlarged-body">
        <div className={tile.bytes ? 'dk-enlarged-picture' : 'dk-enlarged-cells'}>
          <Asked asked={asked.busy ? { ...asked, answer: null } : asked} what="fetching the example">
            {(sample, buffers) => <Large sample={sample} buffers={buffers} name={describe(tile, flips)} />}
          </Asked>
        </div>
        {flips.classes ? (
          <>
            <Top title={against ? 'Before' : 'Original'} guesses={tried?.before ?? tile.topBefore} right={tile.label} />
            <Top title={subject.letter} guesses={tried?.after ?? tile.topAfter} right={tile.label} />
          </>
        ) : (
          <p className="dk-enlarged-words">
            {tried?.before[0]?.[0] ?? tile.before} → {tried?.after[0]?.[0] ?? tile.after}
            <span className="dk-soft">
              {tile.label && `, right: ${tile.label}`}; {grown(tile.lost, flips)}.
            </span>
          </p>
        )}
      </div>
      <div className="dk-enlarged-foot">
        <Button
          reason={again.busy ? 'Both models are running.' : ''}
          onClick={() => void again.ask('candidate_try', { key: subject.keyOf, example: tile.example, against })}
        >
          Try both
        </Button>
        <Button
          reason={rests.busy ? 'Both models are running.' : ''}
          onClick={() => void rests.ask('candidate_rests', { key: subject.keyOf, example: tile.example, against })}
        >
          What it rests on
        </Button>
        {again.busy && <span className="dk-soft dk-small">Running both …</span>}
        {tried && <span className="dk-soft dk-small">Computed just now with both files.</span>}
        {rests.busy && <span className="dk-soft dk-small">Hiding parts of the example …</span>}
        <Problem words={again.error || rests.error} />
      </div>
      {rests.answer && <Rests found={rests.answer.value} buffers={rests.answer.buffers} />}
    </div>
  );
}

/** How much worse an example has become; without right answers, how much it differs. */
function grown(lost: number, { labelled }: IFlips): string {
  if (lost > 1e300) {
    return 'not a number';
  }
  return labelled ? `error larger by ${lost.toPrecision(3)}` : `mean difference ${lost.toPrecision(3)}`;
}

function Large({ sample, buffers, name }: { sample: ISample; buffers: DataView[]; name: string }): ReactElement {
  const [address] = usePictures(buffers);
  return sample.picture < 0 ? (
    <p className="dk-flip-cells">{sample.cells.join('  ')}</p>
  ) : (
    <img className={pixelated(sample)} src={address ?? BLANK} alt={name} />
  );
}

function Top({ title, guesses, right }: { title: string; guesses: readonly Guess[]; right: string }): ReactElement {
  return (
    <table className="dk-top5">
      <caption>{title}</caption>
      <tbody>
        {guesses.map(([name, confidence], place) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: two classes may have one name
          <tr key={place}>
            <th scope="row">
              {name}
              {right !== '' && name === right && ' ✓'}
            </th>
            <td className="dk-n">
              {confidence === null ? '' : `${fixed(100 * confidence, confidence >= 0.0995 ? 0 : 1)} %`}
            </td>
            <td aria-hidden="true" className="dk-top5-bar">
              {confidence !== null && <span style={{ width: `${100 * confidence}%` }} />}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** What screen readers say of an example. */
export function describe(tile: ITile, flips: IFlips): string {
  const right = tile.label ? `, right answer ${tile.label}` : '';
  if (!flips.classes) {
    return `sample ${tile.example}${right}: was ${tile.before}, now ${tile.after}, ${grown(tile.lost, flips)}`;
  }
  return `sample ${tile.example}${right}: was ${tile.before}, now ${tile.after}`;
}

export function pixelated(tile: { width: number; height: number }): string {
  return Math.max(tile.width, tile.height) < 64 ? 'dk-flip-picture dk-pixelated' : 'dk-flip-picture';
}
