/** Data: a path or a variable of the notebook; samples, classes, splits, and what they can tell. */

import type { ReactElement } from 'react';
import { Icon } from '../elements/icons';
import { PanelStatus } from '../elements/parts';
import { useSection } from '../store';
import { Choose } from './choose';
import { Classes, Facts } from './facts';
import { Meaning, Misgivings } from './meaning';
import { Samples } from './samples';
import type { IData } from './section';
import { Synthesis } from './synthesis';

export default function DataPanel(): ReactElement | null {
  const data = useSection('data');
  if (data === undefined) {
    return null;
  }
  return (
    <div className="dk-data">
      <Choose data={data} />
      <Synthesis data={data} />
      <PanelStatus panel="data" doing={data.synthesis.running || 'reading the data'} cancel="cancel_data" />
      {data.meaning && <Misgivings meaning={data.meaning} />}
      {data.facts && data.meaning?.lines.length !== 0 && <Resolution {...data.resolution} />}
      {data.facts && (
        <div className="dk-data-two">
          <div>
            <Facts facts={data.facts} />
            <Samples key={data.facts.digest} facts={data.facts} />
          </div>
          <div>
            {data.meaning && <Meaning meaning={data.meaning} />}
            {data.facts.classes.length > 0 && <Classes facts={data.facts} />}
          </div>
        </div>
      )}
    </div>
  );
}

function Resolution({ words, enough }: IData['resolution']): ReactElement | null {
  if (!words) {
    return null;
  }
  return enough ? (
    <p className="dk-resolution dk-soft">{words}</p>
  ) : (
    <p className="dk-resolution dk-warning">
      <Icon name="warning" />
      <span>{words}</span>
    </p>
  );
}
