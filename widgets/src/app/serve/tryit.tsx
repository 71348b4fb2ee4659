/** Try the server on a sample: see it, send it, compare the answer with its label. */

import { type FormEvent, type ReactElement, useState } from 'react';
import { Field, Reasons, useTyped } from '../elements/field';
import { Icon } from '../elements/icons';
import { Button, Note, Part, Problem, useAnswer, useAsk } from '../elements/parts';
import { type ISample, usePictures } from '../elements/pictures';
import { fixed } from '../format';
import { useAlive } from '../store';

export interface IAnswered {
  label: string;
  /** Name of the class with the highest output, '' when there are no classes. */
  prediction: string;
  right: boolean | null;
  top: { name: string; value: number }[];
  /** First outputs where there are no classes. */
  numbers: number[];
  /** Whether the outputs are probabilities. */
  shares: boolean;
}

export function TryIt({ samples }: { samples: number }): ReactElement | null {
  const [index, setIndex] = useState(0);
  const [asked, setAsked] = useState(-1);
  const sample = useAnswer<ISample>('sample', { index }, samples > 0);
  const { ask, answer, busy, error } = useAsk<IAnswered>();
  const [picture] = usePictures(sample.answer?.buffers);
  const alive = useAlive();
  const typed = useTyped(String(index), text => {
    if (!/^\d+$/.test(text.trim()) || Number(text) >= samples) {
      return `“${text}” is not a sample. Use a number from 0 to ${samples - 1}.`;
    }
    setIndex(Number(text));
    return '';
  });
  const onSubmit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    const text = await typed.done();
    if (text !== null) {
      setAsked(Number(text));
      void ask('try_sample', { index: Number(text) });
    }
  };
  if (samples === 0) {
    return null;
  }
  const shown = sample.answer?.value;
  const label = shown?.label ? `sample ${shown.index}, ${shown.label}` : `sample ${index}`;
  const said = asked === index && !busy ? answer?.value : undefined;
  return (
    <Part title="Try it">
      <form className="dk-line" onSubmit={event => void onSubmit(event)}>
        <Field label="Sample" className="dk-port" typed={typed} disabled={!alive} />
        <span className="dk-soft">of 0 to {samples - 1}</span>
        <Button type="submit" kind="primary" disabled={!alive} reason={busy ? 'Waiting for the server.' : ''}>
          Try it
        </Button>
        <Button disabled={!alive} onClick={() => setIndex((index + 1) % samples)}>
          Next
        </Button>
      </form>
      <Reasons of={[typed]} />
      <Problem words={sample.error || error} />
      <div className="dk-try">
        <div className="dk-try-sample">
          {picture && <img className="dk-picture dk-picture-large" src={picture} alt={label} />}
          {shown && shown.cells.length > 0 && <code className="dk-try-cells">{shown.cells.join(', ')}</code>}
          {shown?.label && <span className="dk-soft">Label: {shown.label}</span>}
        </div>
        <output className="dk-try-answer" aria-live="polite">
          {said ? <Answered {...said} /> : <Note>{busy ? 'Waiting …' : 'The answer appears here.'}</Note>}
        </output>
      </div>
    </Part>
  );
}

function Answered({ label, prediction, right, top, numbers, shares }: IAnswered): ReactElement {
  if (!prediction) {
    return (
      <p>
        <b>{numbers.map(value => fixed(value, 4)).join(', ')}</b>
        {label && <span className="dk-soft"> label {label}</span>}
      </p>
    );
  }
  return (
    <>
      <p className="dk-try-said">
        <b>{prediction}</b>
        {right !== null && (
          <span className={right ? 'dk-right' : 'dk-wrong'}>
            <Icon name={right ? 'check' : 'close'} /> {right ? 'as the label says' : `the label says ${label}`}
          </span>
        )}
      </p>
      <table className="dk-answers" aria-label={shares ? 'Highest probabilities' : 'Highest outputs'}>
        <tbody>
          {top.map(({ name, value }) => (
            <tr key={name}>
              <th scope="row" title={name}>
                {name}
              </th>
              <td className="dk-class-bar">{shares && <span style={{ width: `${100 * value}%` }} />}</td>
              <td className="dk-n">{shares ? `${fixed(100 * value, 1)} %` : fixed(value, 3)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
