/** Explore: space, trade-off and candidate. */

import { type ReactElement, useState } from 'react';
import CandidatePanel from '../candidate/panel';
import { Button } from '../elements/parts';
import { Guard } from '../guard';
import SpacePanel, { Run } from '../space/panel';
import { useSection } from '../store';
import TradeoffPanel from '../tradeoff/panel';
import { usePanes } from './panes';

/** Space, trade-off and candidate side by side; the space folds into a line where there is no room. */
export default function Explore(): ReactElement {
  const [open, setOpen] = useState(false);
  const space = useSection('space');
  const { style, separator } = usePanes();
  return (
    <>
      <div className="dk-space-line">
        <b>Space</b>
        <span className="dk-soft">{space?.line ?? ''}</span>
        <span className="dk-grow" />
        <Button aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? 'Close' : 'Edit space'}
        </Button>
        <Run />
      </div>
      <div className={`dk-explore ${open ? 'dk-space-open' : ''}`} style={style}>
        <div className="dk-column dk-column-space" role="region" aria-label="Space">
          <Guard name="space">
            <SpacePanel />
          </Guard>
        </div>
        {separator('space')}
        <div className="dk-column dk-column-tradeoff" role="region" aria-label="Trade-off">
          <Guard name="tradeoff">
            <TradeoffPanel />
          </Guard>
        </div>
        {separator('candidate')}
        <div className="dk-column dk-column-candidate" role="region" aria-label="Candidate">
          <Guard name="candidate">
            <CandidatePanel />
          </Guard>
        </div>
      </div>
    </>
  );
}
