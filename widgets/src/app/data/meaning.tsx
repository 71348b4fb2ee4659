/** What data and model are taken to mean, whether they fit, and remedies with one click. */

import type { ReactElement } from 'react';
import { Icon } from '../elements/icons';
import { Button, Part, Problem, useAsk } from '../elements/parts';
import { BUSY } from './choose';
import type { IMeaning } from './section';

/** What is wrong, with its remedies; nothing while all is well. */
export function Misgivings({ meaning: { warnings, suspicions } }: { meaning: IMeaning }): ReactElement | null {
  const { ask, busy, error } = useAsk();
  if (warnings.length === 0 && suspicions.length === 0) {
    return null;
  }
  return (
    <section className="dk-misgivings" aria-label="Before you sweep">
      <Icon name="warning" />
      <div>
        {warnings.map(text => (
          <p key={text}>{text}</p>
        ))}
        {suspicions.map(({ text, remedy, label }, place) => (
          <p key={text + remedy + label} className="dk-remedy">
            {text && <span>{text}</span>}
            {remedy && <code>{remedy}</code>}
            {label && (
              <Button
                kind={place === 0 ? 'primary' : 'usual'}
                reason={busy ? BUSY : ''}
                onClick={() => void ask('apply_remedy', { place })}
              >
                {label}
              </Button>
            )}
          </p>
        ))}
        <Problem words={error} />
      </div>
    </section>
  );
}

export function Meaning({ meaning: { lines, ok, summary } }: { meaning: IMeaning }): ReactElement | null {
  if (lines.length === 0) {
    return null;
  }
  return (
    <Part title="How the data are read">
      <p className={ok ? 'dk-note dk-fits' : 'dk-note dk-uneven'}>
        <Icon name={ok ? 'check' : 'warning'} /> The original model: {summary}.
      </p>
      <dl className="dk-facts dk-contract">
        {lines.map(([heading, said]) => (
          <div key={`${heading} ${said}`}>
            <dt>{heading}</dt>
            <dd>{said}</dd>
          </div>
        ))}
      </dl>
    </Part>
  );
}
