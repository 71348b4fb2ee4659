/** Flipped predictions: the examples whose answer changed, as a gallery, and one of them enlarged. */

import { type ReactElement, type ReactNode, useEffect, useMemo, useRef, useState } from 'react';
import { Button, Note, Part, Problem, Toggle, useAnswer, useAsk, Waiting } from '../elements/parts';
import { BLANK, usePictures } from '../elements/pictures';
import { thousands } from '../format';
import { useBench } from '../store';
import { describe, Enlarged, type ITile, pixelated } from './enlarged';
import type { IFlips } from './facts';
import { Asked, type ISubject, useNear, useRoving } from './parts';

const FEW = 10;
const PAGE = 60;

export function Flips({ subject, against }: { subject: ISubject; against: string }): ReactElement {
  const root = useRef<HTMLDivElement>(null);
  const near = useNear(root);
  const args = { key: subject.keyOf, against, count: 0, stamp: subject.stamp };
  const asked = useAnswer<IFlips>('candidate_flips', args, near);
  const [chosen, setChosen] = useState('');
  const flips = asked.answer?.value;
  const total = flips?.groups.reduce((sum, group) => sum + group.count, 0) ?? 0;
  const group = chosen || flips?.groups.find(one => one.count > 0)?.name || '';
  return (
    <div ref={root}>
      <Part
        title={
          flips && !flips.classes ? (flips.labelled ? 'Largest errors' : 'Largest differences') : 'Flipped predictions'
        }
        aside={
          flips?.classes && (
            <span className="dk-soft dk-small">
              {thousands(total)} of {thousands(flips.examples)}
            </span>
          )
        }
      >
        <Asked asked={asked} what="comparing answers">
          {found =>
            total === 0 ? (
              <Note>
                {found.classes
                  ? `All ${thousands(found.examples)} answers match those of ${found.against}.`
                  : found.labelled
                    ? 'No error increased.'
                    : 'No output differs.'}
              </Note>
            ) : (
              <>
                {found.groups.length > 1 && (
                  <div className="dk-chips" role="group" aria-label="Which examples">
                    {found.groups.map(({ name, count }) => (
                      <Toggle key={name} pressed={name === group} onClick={() => setChosen(name)}>
                        {nameOf(name)} {thousands(count)}
                      </Toggle>
                    ))}
                  </div>
                )}
                <Gallery key={group} subject={subject} against={against} group={group} flips={found} />
              </>
            )
          }
        </Asked>
      </Part>
    </div>
  );
}

function nameOf(group: string): string {
  return group === 'both wrong' ? 'both wrong, different' : group;
}

function Gallery({
  subject,
  against,
  group,
  flips
}: {
  subject: ISubject;
  against: string;
  group: string;
  flips: IFlips;
}): ReactElement {
  const bench = useBench();
  const { ask, busy, error } = useAsk<IFlips>();
  const [tiles, setTiles] = useState<ITile[]>([]);
  const [opened, setOpened] = useState<number | null>(null);
  const root = useRef<HTMLDivElement>(null);
  const total = flips.groups.find(one => one.name === group)?.count ?? 0;
  const more = async (count: number, offset: number): Promise<void> => {
    const answer = await ask('candidate_flips', { key: subject.keyOf, against, group, offset, count });
    if (answer !== null) {
      const found = answer.value.rows.map(row => ({ ...row, bytes: answer.buffers[row.picture] ?? null }));
      setTiles(old => (offset === 0 ? found : [...old.slice(0, offset), ...found]));
    }
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: the first page, again when the candidate was measured again
  useEffect(() => {
    void more(FEW, 0);
  }, [subject.stamp]);
  const close = (): void => {
    const place = opened;
    setOpened(null);
    window.requestAnimationFrame(() => {
      root.current?.querySelectorAll<HTMLElement>('[data-item]')[place ?? 0]?.focus();
    });
  };
  const left = total - tiles.length;
  const tile = opened === null ? undefined : tiles[opened];
  return (
    <div ref={root}>
      {total === 0 && <Note>No example is in this group.</Note>}
      {tiles.length === 0 && busy && <Waiting what="fetching examples" />}
      <Tiles tiles={tiles} opened={opened} onOpen={setOpened} flips={flips}>
        {tile && opened !== null && (
          <Enlarged
            tile={tile}
            subject={subject}
            against={against}
            flips={flips}
            first={opened === 0}
            last={opened === tiles.length - 1}
            onClose={close}
            onStep={step => setOpened(Math.min(tiles.length - 1, Math.max(0, opened + step)))}
          />
        )}
      </Tiles>
      <Problem words={error}>
        <Button onClick={() => void more(tiles.length === 0 ? FEW : PAGE, tiles.length)}>Try again</Button>
      </Problem>
      {tiles.length > 0 && left > 0 && (
        <Button
          kind="link"
          reason={busy ? 'Loading more examples.' : ''}
          onClick={() => {
            bench.say(`Fetching ${Math.min(left, PAGE)} more examples`);
            void more(Math.min(left, PAGE), tiles.length);
          }}
        >
          {left <= PAGE ? `Show all ${thousands(total)}` : `Show ${PAGE} more of ${thousands(total)}`}
        </Button>
      )}
      {flips.derived && <Note>Confidence is the {flips.scores}.</Note>}
    </div>
  );
}

function Tiles({
  tiles,
  opened,
  onOpen,
  flips,
  children
}: {
  tiles: readonly ITile[];
  opened: number | null;
  onOpen: (place: number) => void;
  flips: IFlips;
  /** The enlarged one: it stands below its row. */
  children: ReactNode;
}): ReactElement {
  const bytes = useMemo(() => tiles.map(tile => tile.bytes), [tiles]);
  const addresses = usePictures(bytes);
  const pictures = tiles.length > 0 && tiles.every(tile => tile.bytes !== null);
  const roving = useRoving(pictures ? 0 : 1, tiles.length);
  return (
    <ul
      className={pictures ? 'dk-flips' : 'dk-flips dk-flips-rows'}
      onKeyDown={roving.onKeyDown}
      onFocus={roving.onFocus}
    >
      {tiles.flatMap((tile, place) => {
        const item = (
          <li key={tile.example}>
            <button
              type="button"
              data-item
              tabIndex={roving.stop(place)}
              className="dk-flip"
              aria-label={describe(tile, flips)}
              aria-expanded={opened === place}
              onClick={() => onOpen(place)}
            >
              {tile.bytes ? (
                <img className={pixelated(tile)} src={addresses[place] ?? BLANK} alt="" />
              ) : (
                <span className="dk-flip-cells">{tile.cells.join('  ')}</span>
              )}
              <Answers tile={tile} classes={flips.classes} />
            </button>
          </li>
        );
        // Its key is the same behind all of them: the focus stays in it while it moves.
        const enlarged = (
          <li key="enlarged" className="dk-flips-wide">
            {children}
          </li>
        );
        return opened === place ? [item, enlarged] : [item];
      })}
    </ul>
  );
}

/** The former and the present answer, each with its mark. */
function Answers({ tile, classes }: { tile: ITile; classes: boolean }): ReactElement {
  if (!classes) {
    return (
      <span className="dk-flip-answers">
        <span>
          {tile.before} → {tile.after}
        </span>
        {tile.label && <span className="dk-soft">right: {tile.label}</span>}
      </span>
    );
  }
  return (
    <span className="dk-flip-answers">
      <Answer name={tile.before} right={tile.label} />
      <Answer name={tile.after} right={tile.label} now />
    </span>
  );
}

function Answer({ name, right, now = false }: { name: string; right: string; now?: boolean }): ReactElement {
  const kind = right === '' ? '' : name === right ? (now ? 'dk-good' : '') : now ? 'dk-bad' : '';
  return (
    <span className={`dk-flip-answer ${kind}`} title={name}>
      <span>{now && right === '' ? `→ ${name}` : name}</span>
      {right !== '' && (name === right ? ' ✓' : ' ✗')}
    </span>
  );
}
