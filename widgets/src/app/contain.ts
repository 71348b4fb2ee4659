/**
 * What is done in the Workbench stays in it: the notebook around it sees no click, drag, key or selection.
 *
 * A notebook listens on all of its cells. Shift+click selects them, plain keys cut, merge and run them, and a key pressed
 * anywhere in an output moves the focus to the active cell.
 */

import { leaveToCell } from './elements/focus';
import { host } from './host';

/** Events that end at the root. React's own listeners are on the root as well, and come first. */
const ENDING = [
  'mousedown',
  'mouseup',
  'click',
  'dblclick',
  'auxclick',
  'contextmenu',
  'pointerdown',
  'touchstart',
  'keyup',
  'keypress',
  'copy',
  'cut',
  'paste',
  'drop',
  'dragover',
  'dragenter'
] as const;
const FIELDS = 'input, textarea, select, option, [contenteditable]';
/** JupyterLab's mark of elements whose keys are their own. */
const OWN_KEYS = 'data-lm-suppress-shortcuts';

/**
 * Keep all gestures in an element.
 *
 * @param root What React draws into; call this after its root was made.
 * @returns What ends it.
 */
export function contain(root: HTMLElement): () => void {
  const ended = new AbortController();
  const { signal } = ended;
  for (const name of ENDING) {
    root.addEventListener(name, event => event.stopPropagation(), { signal });
  }
  root.addEventListener('mousedown', onMouseDown, { signal });
  root.addEventListener('keydown', event => onKeyDown(event, root), { signal });
  root.addEventListener('dragstart', event => event.preventDefault(), { signal });
  for (const name of ['dragover', 'drop'] as const) {
    root.addEventListener(name, onForeignDrop, { signal });
  }
  root.addEventListener(
    'focusin',
    event => {
      if (!(event.relatedTarget instanceof Node && root.contains(event.relatedTarget))) {
        host().enter?.(root);
      }
    },
    { signal }
  );
  // Before JupyterLab's own listener, which is on the document, and looks at what the key was pressed in.
  window.addEventListener(
    'keydown',
    ({ target }) => {
      if (target instanceof Element && root.contains(target)) {
        target.setAttribute(OWN_KEYS, '');
      }
    },
    { capture: true, signal }
  );
  containDrags(root, signal);
  // An element that vanishes while it has the focus leaves it to the page, without a word: the user is still in here.
  let inside = false;
  for (const name of ['focusin', 'mousedown'] as const) {
    window.addEventListener(
      name,
      ({ target }) => {
        inside = target instanceof Node && root.contains(target);
      },
      { capture: true, signal }
    );
  }
  const isHere = (): boolean =>
    root.contains(document.activeElement) || (inside && document.activeElement === document.body);
  // The browser undoes the last change of the whole page, which may be one of a cell: only ours are undone from here.
  window.addEventListener(
    'beforeinput',
    event => {
      const outside = event.target instanceof Node && !root.contains(event.target);
      if (event.inputType.startsWith('history') && outside && isHere()) {
        event.preventDefault();
        event.stopImmediatePropagation();
      }
    },
    { capture: true, signal }
  );
  return () => ended.abort();
}

/** A drag that begins here and ends in another cell selects up to there, and a cell's editor would take the focus. */
function containDrags(root: HTMLElement, signal: AbortSignal): void {
  let held: Element | null = null;
  const outside = ({ target }: Event): boolean => held !== null && target instanceof Node && !root.contains(target);
  root.addEventListener(
    'mousedown',
    ({ target }) => {
      held = target as Element;
    },
    { capture: true, signal }
  );
  const capture = { capture: true, signal };
  window.addEventListener(
    'focusin',
    event => {
      if (outside(event)) {
        event.stopImmediatePropagation();
        window.getSelection()?.removeAllRanges();
        focusAround(held);
      }
    },
    capture
  );
  for (const name of ['mouseup', 'click'] as const) {
    window.addEventListener(
      name,
      event => {
        if (outside(event)) {
          event.stopImmediatePropagation();
          event.preventDefault();
        }
      },
      capture
    );
  }
  for (const name of ['mousedown', 'keydown'] as const) {
    window.addEventListener(
      name,
      event => {
        if (name === 'keydown' || outside(event)) {
          held = null;
        }
      },
      capture
    );
  }
}

function focusAround(place: Element | null): void {
  place?.closest<HTMLElement>('button, input, select, textarea, [tabindex]')?.focus({ preventScroll: true });
}

/** Shift and a click mean B here: the page would also select all text between the last click and this one. */
function onMouseDown(event: MouseEvent): void {
  const target = event.target as Element;
  if (event.shiftKey && !target.closest(FIELDS)) {
    event.preventDefault();
    target.closest<HTMLElement>('button, [tabindex]')?.focus({ preventScroll: true });
  }
}

function onKeyDown(event: KeyboardEvent, root: HTMLElement): void {
  event.stopPropagation();
  if (event.defaultPrevented) {
    return;
  }
  const target = event.target as Element;
  const command = event.ctrlKey || event.metaKey;
  if (event.key === 'Escape') {
    leaveToCell(root);
  } else if (command && event.key.toLowerCase() === 'a' && !target.closest(FIELDS)) {
    event.preventDefault(); // of the page, it would be all that there is
    window.getSelection()?.selectAllChildren(root);
  } else if (command || event.altKey || /^F\d+$/.test(event.key)) {
    passOn(event);
  }
}

/** Commands of the whole application, such as saving, work from here as well; those of the notebook do not. */
function passOn(event: KeyboardEvent): void {
  const { key, code, keyCode, location, ctrlKey, metaKey, altKey, shiftKey, repeat } = event;
  const init = { key, code, keyCode, location, ctrlKey, metaKey, altKey, shiftKey, repeat };
  const copy = new KeyboardEvent('keydown', { ...init, bubbles: true, cancelable: true });
  document.body.dispatchEvent(copy);
  if (copy.defaultPrevented) {
    event.preventDefault();
  }
}

/** A file that misses the place for it would open in place of the whole page. */
function onForeignDrop(event: DragEvent): void {
  if (!event.defaultPrevented && !(event.target as Element).closest(FIELDS)) {
    event.preventDefault();
    if (event.dataTransfer) {
      event.dataTransfer.dropEffect = 'none';
    }
  }
}
