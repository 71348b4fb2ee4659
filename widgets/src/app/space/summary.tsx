/** What the plan says: how many candidates, how long, what is left out and why. */

import { type ReactElement, type ReactNode, useRef } from 'react';
import { Icon } from '../elements/icons';
import { Button, Problem, useFold, useMentioned } from '../elements/parts';
import { plural, thousands } from '../format';
import { useBench } from '../store';

export interface IPlan {
  known: boolean;
  /** Whether it is of what the controls show now. */
  fresh: boolean;
  /** What must be loaded first. */
  missing: string;
  problems: string[];
  candidates?: number;
  reused?: number;
  time?: string;
  many?: boolean;
  /** What happens beside the counted candidates. */
  more?: string;
  costs?: string[];
  resolution?: string;
  resolves?: boolean;
  leftOut?: number;
  example?: string;
  leftOutBy?: IReason[];
  duplicates?: number;
  pointless?: number;
  remarks?: IReason[];
}

interface IReason {
  reason: string;
  labels: string;
}

/** The counts in a sentence. */
function counted({ candidates = 0, reused = 0, time, many }: IPlan): { bold: string; rest: string } {
  const parts = [reused > 0 ? `, ${thousands(reused)} reused` : '', time ? `, ${time}` : ''];
  const advice = many ? '. Narrow it, or run it as a batch notebook.' : '';
  return { bold: plural(candidates, 'candidate'), rest: parts.join('') + advice };
}

export function Summary({ plan }: { plan: IPlan }): ReactElement {
  const bench = useBench();
  const { bold, rest } = counted(plan);
  const told = useRef('');
  // While it is counted again there is nothing new to tell.
  told.current = plan.known && plan.fresh && plan.problems.length === 0 ? bold + rest : told.current;
  useMentioned('plan', told.current);
  if (plan.problems.length > 0) {
    return (
      <>
        {plan.problems.map(words => (
          <Problem key={words} words={words} />
        ))}
      </>
    );
  }
  if (plan.missing) {
    return <p className="dk-note">Load {plan.missing} to see what can run.</p>;
  }
  if (!plan.known) {
    return <p className="dk-note">Planning …</p>;
  }
  const [said = '', basis = ''] = (plan.resolution ?? '').split(' (');
  const { duplicates = 0, leftOut = 0, pointless = 0 } = plan;
  return (
    <div className="dk-summary" aria-busy={!plan.fresh}>
      <div className={plan.fresh ? '' : 'dk-stale'}>
        <p>
          {plan.fresh ? (
            <>
              <b>{bold}</b>
              {rest}
            </>
          ) : (
            'Updating …'
          )}
        </p>
        {plan.many && (
          <Button kind="link" onClick={() => bench.look({ saving: true })}>
            Save as batch notebook
          </Button>
        )}
        {plan.more && <p className="dk-note">{plan.more}</p>}
      </div>
      {plan.resolution && !plan.resolves && (
        <p className="dk-note dk-warned">
          <Icon name="warning" />
          <span>{said}.</span>
        </p>
      )}
      {leftOut > 0 && (
        <Reasons found={plan.leftOutBy ?? []} what="left out">
          {plural(leftOut, 'impossible combination')} left out
          <span className="dk-space-example">, for example {plan.example}</span>.
        </Reasons>
      )}
      {(plan.remarks?.length ?? 0) > 0 && (
        <Reasons found={plan.remarks ?? []} what="remarks">
          {pointless > 0
            ? `${plural(pointless, 'candidate')} ${pointless === 1 ? 'is' : 'are'} unlikely to beat cheaper ones.`
            : 'Some candidates have known drawbacks.'}
        </Reasons>
      )}
      {((plan.costs?.length ?? 0) > 0 || plan.resolves) && (
        <Unfold label="Details of the plan">
          {duplicates > 0 && <p className="dk-note">{plural(duplicates, 'duplicate')} merged.</p>}
          {plan.resolves && <p className="dk-note">{said}.</p>}
          {basis && <p className="dk-note">This holds {basis.replace(/\)$/, '')}.</p>}
          {plan.costs?.map(words => (
            <p key={words} className="dk-note">
              {words}
            </p>
          ))}
        </Unfold>
      )}
    </div>
  );
}

function Reasons({ found, what, children }: { found: IReason[]; what: string; children: ReactNode }): ReactElement {
  const { open, head, body } = useFold(`why ${what}`);
  return (
    <div className="dk-reasons">
      <p className="dk-note">
        {children}{' '}
        <Button kind="link" {...head}>
          {open ? 'Close' : 'Why'}
          <span className="dk-unseen"> ({what})</span>
        </Button>
      </p>
      <ul {...body}>
        {open &&
          found.map(({ reason, labels }) => (
            <li key={reason + labels}>
              {reason}
              {labels && <span className="dk-reason">{labels}</span>}
            </li>
          ))}
      </ul>
    </div>
  );
}

function Unfold({ label, children }: { label: string; children: ReactNode }): ReactElement {
  const { open, head, body } = useFold(label);
  return (
    <div>
      <button className="dk-more" {...head}>
        <Icon name={open ? 'down' : 'right'} />
        {label}
      </button>
      <div {...body}>{open && children}</div>
    </div>
  );
}
