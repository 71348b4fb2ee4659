/** Paths of models and notebooks, as the contents manager names them: `/` between folders, none in front. */

const SAVED_MODEL = 'saved_model.pb';

/** The folder of a path; empty for the root. */
export function folderOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
}

/** The last part of a path. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** The file of a SavedModel folder that holds its graph. */
export function graphFile(folder: string): string {
  return folder ? `${folder}/${SAVED_MODEL}` : SAVED_MODEL;
}

/** The model a graph was opened from: a SavedModel is its folder. */
export function modelOf(path: string): string {
  return nameOf(path) === SAVED_MODEL && folderOf(path) ? folderOf(path) : path;
}

/** The path of a file that a model names relative to its own folder; null unless it is in there. */
export function besideModel(model: string, name: string): string | null {
  const parts: string[] = [];
  for (const part of name.replaceAll('\\', '/').split('/').filter(isNamed)) {
    if (part !== '..') {
      parts.push(part);
    } else if (parts.pop() === undefined) {
      return null;
    }
  }
  const folder = folderOf(model);
  return parts.length > 0 && !/^[/\\]/.test(name) ? [...(folder ? [folder] : []), ...parts].join('/') : null;
}

/** A notebook's name beside the model: never one that is taken. */
export function notebookName(model: string, taken: Iterable<string>): string {
  const names = new Set(taken);
  const stem = model ? nameOf(model).replace(/\.[^.]+$/, '') : '';
  const base = stem ? `${stem}-optimize` : 'workbench';
  for (let number = 1; ; number++) {
    const name = number === 1 ? `${base}.ipynb` : `${base}-${number}.ipynb`;
    if (!names.has(name)) {
      return name;
    }
  }
}

/** The store of a model's sweeps, beside the notebook. */
export function storeFor(model: string): string {
  const stem = nameOf(model).replace(/\.[^.]+$/, '');
  return stem ? `runs/${stem}` : 'runs/workbench';
}

/**
 * Which of the open graphs a path means. The notebook's kernel knows paths of the file system or ones relative to its
 * own folder, so one of the two must be the end of the other: files of candidates differ in their folders only.
 */
export function matchOpen(path: string, open: readonly string[]): string | null {
  const wanted = path.replaceAll('\\', '/').split('/').filter(isNamed).reverse();
  let best: string | null = null;
  let most = 0;
  for (const candidate of open) {
    const parts = modelOf(candidate).split('/').filter(isNamed).reverse();
    let same = 0;
    while (same < parts.length && same < wanted.length && parts[same] === wanted[same]) {
      same++;
    }
    if (same > most && (same === parts.length || same === wanted.length)) {
      [best, most] = [candidate, same];
    }
  }
  return best;
}

/**
 * The path of a file among the server's contents, from its path on the machine; null when it is outside of them.
 *
 * @param root The server's folder as the page's configuration gives it, `~` for the home folder.
 * @param home The home folder.
 * @param path Absolute path.
 */
export function contentsPath(root: string, home: string, path: string): string | null {
  const slashed = (text: string): string => text.replaceAll('\\', '/').replace(/\/+$/, '');
  if (root === '') {
    return null;
  }
  const top = slashed(/^~(\/|$)/.test(root) ? slashed(home) + root.slice(1) : root);
  const file = slashed(path);
  if (file === top) {
    return '';
  }
  return file.startsWith(`${top}/`) ? file.slice(top.length + 1) : null;
}

function isNamed(part: string): boolean {
  return part !== '' && part !== '.';
}
