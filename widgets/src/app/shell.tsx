/** The frame around the panels: tabs, sweep strip, the views, the code drawer. */

import type { DOMWidgetModel } from '@jupyter-widgets/base';
import { Component, type ReactElement, type ReactNode, useId, useRef, useState } from 'react';
import { useStore } from 'zustand';
import { CandidatePanel } from './candidate/panel';
import { CodeButton, CodeDrawer } from './code';
import { DataPanel } from './data/panel';
import { useKeptFocus } from './elements/focus';
import { Icon } from './elements/icons';
import { Button, onArrowKeys, Problem } from './elements/parts';
import { usePanes } from './explore/panes';
import { ExportPanel } from './export/panel';
import { host } from './host';
import { GONE } from './link';
import { ModelPanel } from './model/panel';
import { TABS, type Tab } from './protocol';
import { Run, SpacePanel } from './space/panel';
import { type Bench, BenchProvider, useAlive, useBench, useSection } from './store';
import { Strip } from './sweep/panel';
import { useDark } from './themes';
import { TradeoffPanel } from './tradeoff/panel';

/** Panels that can be shown alone, by the names the kernel uses. */
const ALONE: Record<string, () => ReactElement | null> = {
  model: ModelPanel,
  data: DataPanel,
  space: SpacePanel,
  sweep: Strip,
  tradeoff: TradeoffPanel,
  candidate: CandidatePanel,
  export: ExportPanel
};

interface IShell {
  bench: Bench;
  model: DOMWidgetModel;
  panels: readonly string[];
}

export function Shell({ bench, model, panels }: IShell): ReactElement {
  const root = useRef<HTMLDivElement>(null);
  useKeptFocus(root);
  return (
    <BenchProvider value={bench}>
      <Frame root={root}>
        {panels.length > 0 ? <Panels names={panels} /> : <Whole model={model} />}
        <Spoken />
      </Frame>
    </BenchProvider>
  );
}

function Frame({ root, children }: { root: React.RefObject<HTMLDivElement>; children: ReactNode }): ReactElement {
  const palette = useSection('app')?.palette;
  const dark = useDark();
  const alive = useAlive();
  const style = Object.fromEntries(
    ((dark ? palette?.dark : palette?.light) ?? []).map((color, place) => [`--dk-c${place}`, color])
  );
  return (
    // A click beside all buttons gives it the focus, which otherwise the cell around it would have.
    <div ref={root} tabIndex={-1} className={`dk-Workbench ${dark ? 'dk-dark' : 'dk-light'}`} style={style}>
      <h2 className="dk-unseen">deploykit Workbench</h2>
      <Problem words={alive ? undefined : GONE} />
      {children}
    </div>
  );
}

/** Panels alone in a cell: no tab bar. */
function Panels({ names }: { names: readonly string[] }): ReactElement {
  return (
    <>
      <div className="dk-alone">
        {names.map(name => {
          const Panel = ALONE[name];
          return Panel ? (
            <Guard key={name} name={name}>
              <Panel />
            </Guard>
          ) : null;
        })}
      </div>
      <div className="dk-alone-foot">
        <CodeButton />
      </div>
      <CodeDrawer />
    </>
  );
}

function Whole({ model }: { model: DOMWidgetModel }): ReactElement | null {
  const bench = useBench();
  const app = useSection('app');
  const chosen = useStore(bench.store, state => state.tab);
  const tab = chosen ?? (app?.tab || 'explore');
  const id = useId();
  const alive = useAlive();
  if (app === undefined) {
    return alive ? <p className="dk-empty">Waiting for the kernel …</p> : null;
  }
  return (
    <>
      <div className="dk-top">
        <Tabs tab={tab} id={id} />
        <span className="dk-grow" />
        {host().openTab && (
          <Button
            icon="open"
            aria-label="Open in tab"
            className="dk-button dk-open-tab"
            onClick={() => void host().openTab?.(model, app.title)}
          >
            <span className="dk-wide">Open in tab</span>
          </Button>
        )}
        <CodeButton />
      </div>
      <Guard name="sweep">
        <Strip />
      </Guard>
      <div id={`${id}-view`} role="tabpanel" aria-labelledby={`${id}-${tab}`} className={`dk-view dk-view-${tab}`}>
        {tab === 'model' && (
          <Guard name="model">
            <ModelPanel />
          </Guard>
        )}
        {tab === 'data' && (
          <Guard name="data">
            <DataPanel />
          </Guard>
        )}
        {tab === 'explore' && <Explore />}
        {tab === 'export' && (
          <Guard name="export">
            <ExportPanel />
          </Guard>
        )}
      </div>
      <Guard name="code">
        <CodeDrawer />
      </Guard>
    </>
  );
}

/** Space, trade-off and candidate side by side; the space folds into a line where there is no room. */
function Explore(): ReactElement {
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

const TITLES: Record<Tab, string> = { model: 'Model', data: 'Data', explore: 'Explore', export: 'Export & serve' };

function Tabs({ tab, id }: { tab: Tab; id: string }): ReactElement {
  const bench = useBench();
  return (
    <div
      className="dk-tabs"
      role="tablist"
      aria-label="Workbench"
      onKeyDown={event => onArrowKeys(event, '[role=tab]')}
    >
      {TABS.map(name => (
        <button
          key={name}
          id={`${id}-${name}`}
          type="button"
          role="tab"
          className="dk-tab"
          aria-selected={tab === name}
          aria-controls={`${id}-view`}
          tabIndex={tab === name ? 0 : -1}
          onClick={() => bench.show(name)}
        >
          <TabLabel name={name} />
        </button>
      ))}
    </div>
  );
}

function TabLabel({ name }: { name: Tab }): ReactElement {
  const hint = useSection('app')?.hints[name];
  return (
    <>
      {hint?.done && <Icon name="check" />}
      {hint?.wrong && (
        <span className="dk-tab-wrong" title="The data need attention.">
          <Icon name="warning" />
          <span className="dk-unseen">needs attention</span>
        </span>
      )}
      <b>{TITLES[name]}</b>
      {hint?.words && <span className="dk-soft dk-tab-hint">{hint.words}</span>}
    </>
  );
}

/** A panel that fails takes nothing else with it. */
class Guard extends Component<{ name: string; children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error): { error: Error } {
    return { error };
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (error === null) {
      return this.props.children;
    }
    return (
      <div className="dk-problem" role="alert">
        <Icon name="warning" />
        <span>
          This panel ({this.props.name}) cannot be drawn: {error.message}
        </span>
        <Button onClick={() => this.setState({ error: null })}>Try again</Button>
      </div>
    );
  }
}

/** What screen readers say; urgent words interrupt. */
function Spoken(): ReactElement {
  const { words, urgent, count } = useStore(useBench().store, state => state.said);
  const text = words && count % 2 ? `${words}\u00a0` : words; // the same words twice are read twice
  return (
    <>
      <div className="dk-unseen" role="status">
        {urgent ? '' : text}
      </div>
      <div className="dk-unseen" role="alert">
        {urgent ? text : ''}
      </div>
    </>
  );
}
