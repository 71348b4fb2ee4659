/** What the answers of both models to one example rest on: maps over the picture, or parts with numbers. */

import type { ReactElement } from 'react';
import { Note } from '../elements/parts';
import { BLANK, usePictures } from '../elements/pictures';
import { fixed, significant } from '../format';
import type { IRests } from './facts';

export function Rests({ found, buffers }: { found: IRests; buffers: DataView[] }): ReactElement {
  const addresses = usePictures(buffers);
  return (
    <div className="dk-rests">
      {found.maps.length > 0 && (
        <>
          <div className="dk-rests-maps">
            {found.maps.map((title, place) => (
              <figure key={title}>
                <img src={addresses[place] ?? BLANK} alt={`What counts for ${found.answer} by ${title}`} />
                <figcaption className="dk-small">{title}</figcaption>
              </figure>
            ))}
          </div>
          <p className="dk-soft dk-small">
            <b className="dk-rests-for">Blue</b> speaks for {found.answer}, <b className="dk-rests-against">orange</b>{' '}
            against it; full color is ±{significant(found.largest, 2)}.
          </p>
        </>
      )}
      <Note>{found.summary}</Note>
      <details>
        <summary>In numbers</summary>
        <table className="dk-table">
          <thead>
            <tr>
              <th scope="col">Part</th>
              <th scope="col" className="dk-n">
                Before
              </th>
              <th scope="col" className="dk-n">
                Now
              </th>
            </tr>
          </thead>
          <tbody>
            {found.rows.map(([name, now, before], place) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: a word may occur twice
              <tr key={place}>
                <th scope="row">{name}</th>
                <td className="dk-n">{fixed(before, 3)}</td>
                <td className="dk-n">{fixed(now, 3)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </div>
  );
}
