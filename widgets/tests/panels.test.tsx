// @vitest-environment jsdom
import { type ReactElement, useRef, useState } from 'react';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { useSelectedInCandidate } from '../src/app/candidate/layers';
import { CodeDrawer } from '../src/app/code';
import { useKeptFocus } from '../src/app/elements/focus';
import { CopyButton, PanelStatus } from '../src/app/elements/parts';
import { type IHost, setHost } from '../src/app/host';
import type { ISections } from '../src/app/protocol';
import { TryIt } from '../src/app/serve/tryit';
import { Control } from '../src/app/space/controls';
import { Run } from '../src/app/space/panel';
import type { IControl } from '../src/app/space/values';
import { Again } from '../src/app/sweep/again';
import Strip, { type ISweep } from '../src/app/sweep/panel';
import { Best, Goal } from '../src/app/tradeoff/goal';
import { SceneProvider } from '../src/app/tradeoff/scene';
import type { ITradeoff } from '../src/app/tradeoff/section';
import { SELECTED_EVENT } from '../src/tokens';
import { aBench, button, clear, click, passBy, settled, show, write } from './dom';
import { aRow } from './rows';

const NOBODY: IHost = {
  openTab: null,
  insertCell: null,
  enter: null,
  onKernel: null,
  openFile: null,
  undrawn: () => '',
  openGraph: null,
  upload: null,
  locate: null
};

afterEach(() => {
  clear();
  setHost(NOBODY);
});

function aTradeoff(more: Partial<ITradeoff> = {}): ITradeoff {
  const best = {
    key: 'best',
    name: 'int8 static',
    where: 'LiteRT',
    speedup: '2.00×',
    met: true,
    missed: '',
    change: ''
  };
  return {
    maxDrop: 0.007,
    minimize: 'latency',
    costs: [{ name: 'latency', label: 'latency' }],
    metric: 'accuracy',
    unit: 'pp',
    limit: -0.7,
    measures: [],
    settings: [],
    families: [],
    best: { ...best, words: '', reason: '' },
    picked: { a: '', b: '' },
    ...more
  } as ITradeoff;
}

describe('the goal', () => {
  it.each([
    [0.007, '0.7'],
    [0.00125, '0.125'],
    [0.01, '1.0']
  ])('of %f stays what it is when the focus passes by', async (maxDrop, shown) => {
    const { bench, asked } = aBench(() => null);
    const place = await show(bench, goal(aTradeoff({ maxDrop })));
    const field = place.querySelector('input');
    expect(field?.value).toBe(shown);
    await passBy(field);
    expect(asked).toEqual([]);
  });

  it('is sent without the dust of a division', async () => {
    const { bench, asked } = aBench(() => null);
    const place = await show(bench, goal(aTradeoff({ maxDrop: 0.006 })));
    const field = place.querySelector('input');
    await write(field, '0.7');
    await passBy(field);
    expect(asked).toEqual([['set_goal', { max_drop: 0.007, minimize: 'latency' }]]);
  });

  function goal(tradeoff: ITradeoff): ReactElement {
    return (
      <SceneProvider tradeoff={tradeoff}>
        <Goal tradeoff={tradeoff} />
      </SceneProvider>
    );
  }
});

describe('what is read for a long time', () => {
  it('can be cancelled after ten seconds', async () => {
    const app = { problems: {}, busy: ['model'] } as unknown as ISections['app'];
    const { bench, asked } = aBench(() => null, { app });
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    const place = await show(bench, <PanelStatus panel="model" doing="reading the model" cancel="cancel_model" />);
    await settled(() => vi.advanceTimersByTime(9_000));
    expect(place.querySelector('button')).toBeNull();
    await settled(() => vi.advanceTimersByTime(3_000));
    expect(place.textContent).toContain('Still reading the model, 12 s.');
    await click(place, 'Cancel');
    vi.useRealTimers();
    expect(asked).toEqual([['cancel_model', {}]]);
  });
});

describe('a candidate that is run again', () => {
  const sweep = {
    bold: '',
    words: '',
    soft: '',
    left: '',
    bar: { done: 0, failed: 0, words: '' }
  };

  it.each([
    [aRow({ status: 'failed' }), 'Try again'],
    [aRow({ badges: ['noisy'] }), 'Measure again']
  ])('is asked for by its key', async (row, words) => {
    const { bench, asked } = aBench(() => null, { sweep: { ...sweep, state: 'done' } });
    const place = await show(bench, <Again row={row} />);
    expect(place.textContent).toBe(words);
    await click(place, words);
    expect(asked).toEqual([['again', { key: 'a' }]]);
  });

  it('waits for a sweep that runs, and says so', async () => {
    const { bench, asked } = aBench(() => null, { sweep: { ...sweep, state: 'running' } });
    const place = await show(bench, <Again row={aRow({ status: 'failed' })} />);
    await click(place, 'Try again');
    expect(asked).toEqual([]);
    expect(place.querySelector('button')?.title).toBe('A sweep is running.');
  });

  it('is not offered for what is sure, nor where nothing runs', async () => {
    const { bench } = aBench(() => null, { sweep: { ...sweep, state: 'done' } });
    expect((await show(bench, <Again row={aRow()} />)).textContent).toBe('');
    clear();
    expect((await show(aBench(() => null).bench, <Again row={aRow({ status: 'failed' })} />)).textContent).toBe('');
  });
});

describe('the best so far', () => {
  async function beside(a: string) {
    const app = { tab: 'explore' } as never;
    const { bench, asked } = aBench(() => null, { app });
    bench.receive({ type: 'rows', set: { best: aRow({ key: 'best' }), other: aRow() }, gone: [], reset: true });
    bench.look({ a });
    const tradeoff = aTradeoff();
    const best = (
      <SceneProvider tradeoff={tradeoff}>
        <Best tradeoff={tradeoff} />
      </SceneProvider>
    );
    return { bench, asked, place: await show(bench, best) };
  }

  it('is followed again, and the kernel knows it', async () => {
    const { bench, asked, place } = await beside('other');
    await click(place, 'Use as A');
    expect(bench.store.getState().view.a).toBe('');
    expect(asked).toEqual([['pick', { a: '', b: '' }]]);
  });

  it('is what is exported', async () => {
    const { bench, asked, place } = await beside('other');
    await click(place, 'Export…');
    expect(asked).toEqual([
      ['pick', { a: 'best', b: '' }],
      ['show_tab', { tab: 'export' }]
    ]);
    expect(bench.store.getState().tab).toBe('export');
  });
});

describe('a notebook', () => {
  const code = { script: 'x', line: 'x', changed: [], notebook: 'mine.ipynb' };
  const place = { path: '/home/ann/sub/mine.ipynb', home: '/home/ann', bytes: 3 };

  it('is written over another one only when that one was named', async () => {
    const { bench, asked } = aBench(() => ({ saved: '', taken: true, place: null }), { code });
    const drawer = await show(bench, <CodeDrawer />);
    await click(drawer, 'Save as notebook');
    await click(drawer, 'Save');
    button(drawer, 'Overwrite');
    await write(drawer.querySelector('input'), 'other.ipynb');
    expect([...drawer.querySelectorAll('button')].map(item => item.textContent)).not.toContain('Overwrite');
    await click(drawer, 'Save');
    expect(asked.map(([, args]) => args)).toEqual([
      { path: 'mine.ipynb', overwrite: false },
      { path: 'other.ipynb', overwrite: false }
    ]);
  });

  it.each([
    ['sub/mine.ipynb', ['sub/mine.ipynb']],
    [null, []]
  ])('is opened where Jupyter shows it: %s', async (found, expected) => {
    const opened: string[] = [];
    setHost({
      ...NOBODY,
      openFile: async path => void opened.push(path),
      locate: async given => (given === place ? found : 'wrong')
    });
    const { bench } = aBench(() => ({ saved: 'mine.ipynb', taken: false, place }), { code });
    const drawer = await show(bench, <CodeDrawer />);
    await click(drawer, 'Save as notebook');
    await click(drawer, 'Save');
    expect(drawer.textContent).toContain('Saved mine.ipynb.');
    for (const item of [...drawer.querySelectorAll('button')].filter(each => each.textContent === 'Open')) {
      await settled(() => item.click());
    }
    expect(opened).toEqual(expected);
  });
});

describe('trying a sample', () => {
  it('shows no former answer beside another picture', async () => {
    let tried = 0;
    const answer = { label: '', prediction: 'Shirt', right: null, top: [], numbers: [], shares: false };
    const { bench } = aBench(command => {
      if (command === 'sample') {
        return { index: 0, label: '', cells: [] };
      }
      return tried++ === 0 ? answer : undefined;
    });
    const place = await show(bench, <TryIt samples={3} />);
    await click(place, 'Try it');
    expect(place.querySelector('output')?.textContent).toContain('Shirt');
    await click(place, 'Next');
    await click(place, 'Try it');
    expect(place.querySelector('output')?.textContent).not.toContain('Shirt');
  });
});

describe('a layer that is selected in a graph', () => {
  function Follows({ candidate }: { candidate: string }): null {
    useSelectedInCandidate(candidate);
    return null;
  }

  it.each([
    ['steps/aa/model.onnx', ['conv', 'conv:0']],
    ['steps/bb/model.onnx', []]
  ])('is selected in the panel of its own candidate: %s', async (path, expected) => {
    setHost({ ...NOBODY, locate: async place => place.path.slice(1) });
    const after = { path: '/steps/aa/model.onnx', home: '/home/ann', bytes: 1, folder: false };
    const { bench } = aBench(() => ({ given: null, before: null, after }));
    await show(bench, <Follows candidate="aa" />);
    const detail = { path, layer: 'conv', names: ['conv', 'conv:0'], operator: 'Conv' };
    await settled(() => void window.dispatchEvent(new CustomEvent(SELECTED_EVENT, { detail })));
    expect(bench.store.getState().view.layer).toEqual(expected);
  });
});

describe('copying', () => {
  async function pressed(works: boolean): Promise<HTMLElement> {
    vi.stubGlobal('navigator', { clipboard: { writeText: () => (works ? Promise.resolve() : Promise.reject()) } });
    document.execCommand = () => false;
    const place = await show(aBench(() => null).bench, <CopyButton text="x = 1" label="Copy as Python" />);
    await click(place, 'Copy as Python');
    return place;
  }

  it('shows that it was done', async () => {
    expect((await pressed(true)).textContent).toBe('Copied');
  });

  it('says what to do where the browser does not allow it', async () => {
    const place = await pressed(false);
    button(place, 'Not copied');
    expect(place.querySelector('[role=alert]')?.textContent).toContain('copy it yourself');
  });
});

it('the button of a sweep does not say that it runs when the kernel is gone', async () => {
  const space = { run: { label: 'Sweep is running', reason: 'Pause it.' } } as unknown as ISections['space'];
  const { bench } = aBench(() => null, { space });
  const place = await show(bench, <Run />);
  expect(place.querySelector('button')?.textContent).toBe('Sweep is running');
  await settled(() => bench.die());
  expect(place.querySelector('button')?.textContent).toBe('Kernel stopped');
});

it('a number that cannot be used gives way to the last good one, with the reason', async () => {
  const control = { kind: 'range', name: 's', label: 'Sparsity', values: [0.5], choices: [], help: '', unit: '%' };
  const { bench, asked } = aBench(() => null);
  const whole = { ...control, minimum: 0, maximum: 1, step: 0.1, share: true, problem: '' } as unknown as IControl;
  const place = await show(bench, <Control control={whole} owner="Pruning" send={async () => asked.push(['', {}])} />);
  const field = place.querySelector<HTMLInputElement>('[aria-label="Sparsity, Pruning, to"]');
  await write(field, '5o');
  await passBy(field);
  expect(field?.value).toBe('50');
  expect(place.querySelector('[role=alert]')?.textContent).toBe('“5o” is not a number.');
  await write(field, '400');
  await passBy(field);
  expect(field?.value).toBe('50');
  expect(place.querySelector('[role=alert]')?.textContent).toBe('400 is not from 50 to 100.');
  expect(asked).toHaveLength(0);
  await write(field, '60');
  expect(place.querySelector('[role=alert]')).toBeNull();
  await passBy(field);
  expect(asked).toHaveLength(1);
});

it.each([
  ['a value was refused', 'lengths must be at least 1', [['', { values: [16] }]]],
  ['nothing is wrong', '', []]
])('the last good list counts again when %s', async (_, problem, sent) => {
  const control = { kind: 'numbers', name: 'lengths', label: 'Lengths', values: [16], help: '', unit: '', problem };
  const { bench, asked } = aBench(() => null);
  const send = async (values: unknown): Promise<unknown> => asked.push(['', { values }]);
  const whole = { ...control, empty: 'none', automatic: true } as unknown as IControl;
  const place = await show(bench, <Control control={whole} owner="run on" send={send} />);
  const field = place.querySelector('input');
  expect(field?.placeholder).toBe('none');
  expect(field?.getAttribute('aria-invalid')).toBe(problem ? 'true' : null);
  await write(field, '1');
  await write(field, '16');
  await passBy(field);
  expect(asked).toEqual(sent);
});

describe('the focus', () => {
  function Frame(): ReactElement {
    const root = useRef<HTMLDivElement>(null);
    const [chips, setChips] = useState(['one', 'two']);
    useKeptFocus(root);
    return (
      <div ref={root}>
        <button type="button">first of all</button>
        <p>
          {chips.map(chip => (
            <button key={chip} type="button" onClick={() => setChips(chips.filter(other => other !== chip))}>
              {chip}
            </button>
          ))}
        </p>
      </div>
    );
  }

  it('stays near what had it and is gone', async () => {
    const place = await show(aBench(() => null).bench, <Frame />);
    const gone = async (words: string): Promise<string | null | undefined> => {
      button(place, words).focus();
      await click(place, words);
      return document.activeElement?.textContent;
    };
    expect(await gone('two')).toBe('one');
    expect(await gone('one')).toBe('first of all');
  });

  it('is not fetched back by what was left before it was gone', async () => {
    const place = await show(aBench(() => null).bench, <Frame />);
    await passBy(button(place, 'two'));
    await click(place, 'two');
    expect(document.activeElement).toBe(document.body);
  });

  it('stays on the one button that pauses and resumes', async () => {
    const sweep = (state: ISweep['state']): Partial<ISections> => ({
      sweep: {
        state,
        bold: '',
        words: '',
        soft: '',
        left: '',
        bar: { done: 0, failed: 0, words: '' }
      }
    });
    const { bench } = aBench(() => null, sweep('running'));
    const place = await show(bench, <Strip />);
    const first = button(place, 'Pause');
    for (const [state, words] of [
      ['paused', 'Resume'],
      ['starting', 'Pause'],
      ['running', 'Pause']
    ] as const) {
      await settled(() => bench.receive({ type: 'sections', sections: sweep(state) }));
      expect(button(place, words)).toBe(first);
    }
  });
});
