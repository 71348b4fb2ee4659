/** Inputs that are made from the model, where there are none to calibrate and train with. */

import { type FormEvent, type ReactElement, useId, useState } from 'react';
import { Button, Fold, Note, Problem, useAsk, usePanelBusy } from '../elements/parts';
import { useAlive } from '../store';
import { BUSY } from './choose';
import type { IData, ISynthesis } from './section';

const ADDED = 'Calibration and training inputs are made from the model; the data only evaluate.';
const ALONE =
  'Without data, the inputs that calibrate, train and evaluate are all made from the model: results show agreement ' +
  'with the original, not accuracy.';

export function Synthesis({ data }: { data: IData }): ReactElement {
  return <Fold title="Synthesized inputs">{() => <Form data={data} />}</Fold>;
}

function Form({ data: { facts, synthesis } }: { data: IData }): ReactElement {
  const { settings, used, alone } = synthesis;
  const { ask, error } = useAsk();
  const alive = useAlive();
  const reason = usePanelBusy('data') ? BUSY : '';
  const [typed, setTyped] = useState<Record<string, string>>({});
  const onSubmit = (event: FormEvent): void => {
    event.preventDefault();
    void ask('synthesize', Object.fromEntries(settings.map(({ name, value }) => [name, typed[name] ?? value])));
  };
  return (
    <>
      <Note>{facts && !alone ? ADDED : ALONE} Expect less accuracy than with real inputs.</Note>
      <form className="dk-form-line" onSubmit={onSubmit}>
        {settings.map(({ name, value, ...rest }) => (
          <Setting
            key={name}
            value={typed[name] ?? value}
            onChange={text => setTyped({ ...typed, [name]: text })}
            {...rest}
          />
        ))}
        <Button type="submit" disabled={!alive} reason={reason}>
          {used ? 'Synthesize again' : 'Synthesize'}
        </Button>
        {used && (
          <Button kind="link" disabled={!alive} reason={reason} onClick={() => void ask('leave_out_synthesized')}>
            Leave them out
          </Button>
        )}
      </form>
      <Problem words={error} />
    </>
  );
}

type ISetting = Omit<ISynthesis['settings'][number], 'name'> & { onChange(text: string): void };

function Setting({ label, help, choices, value, example, onChange }: ISetting): ReactElement {
  const id = useId();
  const shared = {
    id,
    className: 'dk-input',
    title: help,
    value,
    onChange: ({ target }: { target: { value: string } }): void => onChange(target.value)
  };
  return (
    <span className="dk-pair">
      <label htmlFor={id}>{label}</label>
      {choices.length > 0 ? (
        <select {...shared}>
          {choices.map(choice => (
            <option key={choice}>{choice}</option>
          ))}
        </select>
      ) : (
        <input {...shared} size={7} placeholder={example} spellCheck={false} />
      )}
    </span>
  );
}
