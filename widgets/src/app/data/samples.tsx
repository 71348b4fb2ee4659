/** The first examples of the evaluation split, as pictures or as rows. */

import type { ReactElement } from 'react';
import { Button, Part, Problem, useAnswer, Waiting } from '../elements/parts';
import { type ISample, usePictures } from '../elements/pictures';
import type { IDataFacts } from './section';

export function Samples({ facts }: { facts: IDataFacts }): ReactElement {
  const { answer, busy, error, again } = useAnswer<ISample[]>('data_samples', { digest: facts.digest });
  const samples = answer?.value ?? [];
  const urls = usePictures(answer?.buffers);
  return (
    <Part title="Samples" aside={<span className="dk-soft dk-small">from the evaluation split</span>}>
      {busy && <Waiting what="reading samples" />}
      <Problem words={error}>
        <Button onClick={again}>Try again</Button>
      </Problem>
      {facts.pictures ? (
        <div className="dk-tiles">
          {samples.map((sample, place) => (
            <figure key={sample.index}>
              <img className="dk-picture" src={urls[place]} alt={named(sample)} title={named(sample)} />
              <figcaption title={sample.label}>{sample.label}</figcaption>
            </figure>
          ))}
        </div>
      ) : (
        <Rows samples={samples} />
      )}
    </Part>
  );
}

function named({ index, label }: ISample): string {
  return label ? `sample ${index}, ${label}` : `sample ${index}`;
}

/** Samples that are not pictures. */
function Rows({ samples }: { samples: readonly ISample[] }): ReactElement | null {
  const [first] = samples;
  if (!first) {
    return null;
  }
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so it must be reached by keyboard
    <div className="dk-scroll" tabIndex={0} role="region" aria-label="Samples">
      <table className="dk-table">
        <thead>
          <tr>
            <th scope="col">Sample</th>
            {first.cells.map((_, place) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: a column is its place
              <th key={place} scope="col" className="dk-n">
                {place}
              </th>
            ))}
            <th scope="col">Label</th>
          </tr>
        </thead>
        <tbody>
          {samples.map(({ index, cells, label }) => (
            <tr key={index}>
              <td>{index}</td>
              {cells.map((cell, place) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: a column is its place
                <td key={place} className="dk-n">
                  {cell}
                </td>
              ))}
              <td>{label}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
