// @vitest-environment jsdom
import type { Kernel } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';
import { expect, test, vi } from 'vitest';
import { WorkbenchModel } from '../src/app/widget';

// The page of the tests knows no dragging, which the widgets of JupyterLab are made with.
vi.hoisted(() => vi.stubGlobal('DragEvent', MouseEvent));

class Connection {
  readonly statusChanged = new Signal<this, Kernel.Status>(this);
  readonly disposed = new Signal<this, void>(this);
}

function aModel(kernel: Connection | null, live = true): WorkbenchModel {
  const comm = { on_msg: () => undefined, on_close: () => undefined, send: () => '', close: () => '' };
  const options = { model_id: 'm', widget_manager: { kernel }, ...(live ? { comm } : {}) };
  return new WorkbenchModel({}, options as never);
}

const isAlive = (model: WorkbenchModel): boolean => model.bench.store.getState().alive;

test.each(['autorestarting', 'restarting', 'terminating', 'dead'] as const)('a kernel that is %s is lost', status => {
  const kernel = new Connection();
  const model = aModel(kernel);
  kernel.statusChanged.emit('busy');
  expect(isAlive(model)).toBe(true);
  kernel.statusChanged.emit(status);
  expect(isAlive(model)).toBe(false);
});

test('so is one whose connection is gone', () => {
  const kernel = new Connection();
  const model = aModel(kernel);
  kernel.disposed.emit();
  expect(isAlive(model)).toBe(false);
});

test('a Workbench that was saved with the notebook has none', () => {
  expect(isAlive(aModel(null, false))).toBe(false);
  expect(isAlive(aModel(null))).toBe(true);
});

test('one that is closed does not listen any more', async () => {
  const kernel = new Connection();
  const model = aModel(kernel);
  await model.close(true);
  kernel.statusChanged.emit('dead');
  expect(isAlive(model)).toBe(true);
});
