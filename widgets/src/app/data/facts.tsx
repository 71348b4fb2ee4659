/** What the data are: their arrays, splits and classes. */

import type { ReactElement } from 'react';
import { Note, Part } from '../elements/parts';
import { plural, thousands } from '../format';
import type { IDataFacts } from './section';

export function Facts({ facts }: { facts: IDataFacts }): ReactElement {
  const total = Math.max(1, facts.examples);
  return (
    <Part title="Data" aside={<span className="dk-soft dk-small">{plural(facts.examples, 'example')}</span>}>
      <dl className="dk-facts">
        <div>
          <dt>{facts.inputs.length === 1 ? 'Input' : 'Inputs'}</dt>
          <dd>
            {facts.inputs.map(line => (
              <div key={line}>{line}</div>
            ))}
          </dd>
        </div>
        <div>
          <dt>Labels</dt>
          <dd>{facts.labels}</dd>
        </div>
        <div>
          <dt>Preprocessing</dt>
          <dd>{facts.preprocessing.length > 0 ? facts.preprocessing.join('; ') : 'none'}</dd>
        </div>
        {facts.reading.length > 0 && (
          <div>
            <dt>How it was read</dt>
            <dd>
              {facts.reading.map(line => (
                <div key={line}>{line}</div>
              ))}
            </dd>
          </div>
        )}
      </dl>
      <div className="dk-split" aria-hidden="true">
        {facts.splits.map(({ name, count }) => (
          <span key={name} className={`dk-split-${name}`} style={{ width: `${(100 * count) / total}%` }} />
        ))}
      </div>
      <ul className="dk-split-words" aria-label="Splits">
        {facts.splits.map(({ name, count }) => (
          <li key={name}>
            <span className={`dk-swatch dk-split-${name}`} aria-hidden="true" />
            {SPLITS[name] ?? name} <b>{thousands(count)}</b>
          </li>
        ))}
      </ul>
    </Part>
  );
}

const SPLITS: Record<string, string> = {
  train: 'Train and calibrate',
  evaluation: 'Compare candidates',
  test: 'Confirm the choice'
};

export function Classes({ facts }: { facts: IDataFacts }): ReactElement {
  const most = Math.max(1, ...facts.classes.map(({ count }) => count));
  return (
    <Part title="Classes" aside={<span className="dk-soft dk-small">from the evaluation split</span>}>
      {facts.balance.words && (
        <p className={facts.balance.even ? 'dk-note' : 'dk-note dk-uneven'}>{facts.balance.words}</p>
      )}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so it must be reached by keyboard */}
      <div className="dk-scroll dk-classes" tabIndex={0} role="region" aria-label="Examples of each class">
        <table>
          <tbody>
            {facts.classes.map(({ name, count }, place) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: two classes can have one name
              <tr key={place}>
                <th scope="row" title={name}>
                  {name}
                </th>
                <td className="dk-n">{thousands(count)}</td>
                <td className="dk-class-bar">
                  <span style={{ width: `${(100 * count) / most}%` }} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {facts.moreClasses > 0 && <Note>{plural(facts.moreClasses, 'more class', 'more classes')} not shown.</Note>}
    </Part>
  );
}
