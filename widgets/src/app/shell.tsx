/** The frame around the panels: tabs, sweep strip, the views, the code drawer. */

import type { DOMWidgetModel } from '@jupyter-widgets/base';
import { type ReactElement, type ReactNode, useId, useRef } from 'react';
import { useStore } from 'zustand';
import { CodeButton, CodeDrawer } from './code';
import { useKeptFocus } from './elements/focus';
import { Icon } from './elements/icons';
import { Button, onArrowKeys, Problem } from './elements/parts';
import { Guard } from './guard';
import { host } from './host';
import { GONE } from './link';
import { PANELS } from './panels';
import type { ITab } from './protocol';
import { type Bench, BenchProvider, useAlive, useBench, useSection } from './store';
import { useDark } from './themes';

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
        {names.map(name => (
          <Panel key={name} name={name} />
        ))}
      </div>
      <div className="dk-alone-foot">
        <CodeButton />
      </div>
      <CodeDrawer />
    </>
  );
}

/** One panel; its file is panel.tsx in the folder of its name. */
function Panel({ name }: { name: string }): ReactElement {
  const Content = PANELS[name];
  return Content ? (
    <Guard name={name}>
      <Content />
    </Guard>
  ) : (
    <Problem words={`The page has no panel "${name}": reload the page, or build the extension again.`} />
  );
}

function Whole({ model }: { model: DOMWidgetModel }): ReactElement | null {
  const bench = useBench();
  const app = useSection('app');
  const chosen = useStore(bench.store, state => state.tab);
  const id = useId();
  const alive = useAlive();
  if (app === undefined) {
    return alive ? <p className="dk-empty">Waiting for the kernel …</p> : null;
  }
  const tab = chosen ?? app.tab;
  return (
    <>
      <div className="dk-top">
        <Tabs tabs={app.tabs} shown={tab} id={id} />
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
      <Panel name="sweep" />
      <div id={`${id}-view`} role="tabpanel" aria-labelledby={`${id}-${tab}`} className={`dk-view dk-view-${tab}`}>
        <Panel key={tab} name={tab} />
      </div>
      <Guard name="code">
        <CodeDrawer />
      </Guard>
    </>
  );
}

function Tabs({ tabs, shown, id }: { tabs: readonly ITab[]; shown: string; id: string }): ReactElement {
  const bench = useBench();
  return (
    <div
      className="dk-tabs"
      role="tablist"
      aria-label="Workbench"
      onKeyDown={event => onArrowKeys(event, '[role=tab]')}
    >
      {tabs.map(tab => (
        <button
          key={tab.name}
          id={`${id}-${tab.name}`}
          type="button"
          role="tab"
          className="dk-tab"
          aria-selected={shown === tab.name}
          aria-controls={`${id}-view`}
          tabIndex={shown === tab.name ? 0 : -1}
          onClick={() => bench.show(tab.name)}
        >
          <TabLabel {...tab} />
        </button>
      ))}
    </div>
  );
}

function TabLabel({ title, words, done, wrong }: ITab): ReactElement {
  return (
    <>
      {done && <Icon name="check" />}
      {wrong && (
        <span className="dk-tab-wrong" title="Needs attention.">
          <Icon name="warning" />
          <span className="dk-unseen">needs attention</span>
        </span>
      )}
      <b>{title}</b>
      {words && <span className="dk-soft dk-tab-hint">{words}</span>}
    </>
  );
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
