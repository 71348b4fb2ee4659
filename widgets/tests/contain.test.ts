// @vitest-environment jsdom

import { afterEach, beforeEach, expect, it } from 'vitest';
import { contain } from '../src/app/contain';

let root: HTMLElement;
let cell: HTMLElement;
let end: () => void;

beforeEach(() => {
  document.body.innerHTML = '<div id="root"><button>A layer</button></div><div id="cell" tabindex="0">five = 5</div>';
  root = document.getElementById('root') as HTMLElement;
  cell = document.getElementById('cell') as HTMLElement;
  end = contain(root);
});

afterEach(() => end());

/** Whether the browser may undo the last change of a cell. */
function undoes(): boolean {
  return cell.dispatchEvent(
    new InputEvent('beforeinput', { inputType: 'historyUndo', bubbles: true, cancelable: true })
  );
}

it('undoes nothing of a cell from the Workbench', () => {
  root.querySelector('button')?.focus();
  expect(undoes()).toBe(false);
});

it('undoes nothing of a cell after what had the focus has vanished', () => {
  const button = root.querySelector('button');
  button?.focus();
  button?.remove();
  expect(document.activeElement).toBe(document.body);
  expect(undoes()).toBe(false);
});

it('leaves cells their own undo', () => {
  root.querySelector('button')?.focus();
  cell.focus();
  expect(undoes()).toBe(true);
  cell.blur();
  expect(undoes()).toBe(true);
});
