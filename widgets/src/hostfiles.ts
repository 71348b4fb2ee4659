/** Files of the kernel's machine as the server's contents know them, and files that are put beside a notebook. */

import { PageConfig, PathExt } from '@jupyterlab/coreutils';
import type { Contents } from '@jupyterlab/services';
import type { IPlace, IUpload } from './app/host';
import { contentsPath } from './paths';

/** A multiple of three, so that each part of base64 ends where a byte ends. */
const CHUNK = 3 * 1024 * 1024;
const MOST_NAMES = 1000;

/**
 * The path of a file of the kernel's machine among the server's contents; null when the server does not show it.
 *
 * That kernel and server see the same files is checked: a kernel may run elsewhere.
 */
export async function locate(contents: Contents.IManager, { path, home, bytes }: IPlace): Promise<string | null> {
  const found = contentsPath(PageConfig.getOption('serverRoot'), home, path);
  if (found === null) {
    return null;
  }
  try {
    const model = await contents.get(found, { content: false });
    return bytes !== null && model.type !== 'directory' && model.size != null && model.size !== bytes ? null : found;
  } catch {
    return null;
  }
}

/**
 * Put files into a folder of the server, in parts.
 *
 * A file of the name that is there already is never written over: it is taken when it is the same, else the new one
 * gets another name. Files that belong together keep their names, by which they know each other: they get a folder of
 * their own then.
 *
 * @returns The path of the first one, relative to the folder.
 */
export async function upload(
  contents: Contents.IManager,
  folder: string,
  { files, onShare }: Pick<IUpload, 'files' | 'onShare'>
): Promise<string> {
  const place = await placeFor(contents, folder, files);
  if (place.isNew) {
    await contents.save(PathExt.join(folder, place.inside), { type: 'directory' });
  }
  const all = files.reduce((sum, file) => sum + file.size, 0) || 1;
  let done = 0;
  for (const [at, file] of files.entries()) {
    if (!place.isThere[at]) {
      const path = PathExt.join(folder, place.inside, place.names[at] ?? file.name);
      await put(contents, path, file, sent => onShare?.((done + sent) / all));
    }
    done += file.size;
  }
  onShare?.(1);
  return PathExt.join(place.inside, place.names[0] ?? '');
}

/** Write one file, in parts. */
async function put(
  contents: Contents.IManager,
  path: string,
  file: File,
  onSent: (bytes: number) => void
): Promise<void> {
  const parts = Math.max(1, Math.ceil(file.size / CHUNK));
  for (let part = 0; part < parts; part++) {
    const content = await base64(file.slice(part * CHUNK, (part + 1) * CHUNK));
    const chunk = parts === 1 ? {} : { chunk: part === parts - 1 ? -1 : part + 1 };
    await contents.save(path, { type: 'file', format: 'base64', content, ...chunk });
    onSent(Math.min(file.size, (part + 1) * CHUNK));
  }
}

interface IUploadPlace {
  /** Folder in the folder; empty for none. */
  inside: string;
  isNew: boolean;
  names: string[];
  /** Which of them are there already, with the same content. */
  isThere: boolean[];
}

async function placeFor(contents: Contents.IManager, folder: string, files: readonly File[]): Promise<IUploadPlace> {
  const [first] = files;
  if (!first) {
    throw new Error('There is nothing to copy.');
  }
  const listed = await contents.get(folder, { content: true });
  const taken = new Map((listed.content as Contents.IModel[]).map(item => [item.name, item]));
  /** Whether the content is there under this name; null where something else is. */
  const isThere = async (name: string, file: File): Promise<boolean | null> => {
    const there = taken.get(name);
    const same = there?.size === file.size && (await isSame(contents, PathExt.join(folder, name), file));
    return there === undefined ? false : same || null;
  };
  const found = await Promise.all(files.map(file => isThere(file.name, file)));
  const names = files.map(file => file.name);
  if (!found.includes(null)) {
    return { inside: '', isNew: false, names, isThere: found.map(Boolean) };
  }
  const ending = PathExt.extname(first.name);
  const stem = first.name.slice(0, first.name.length - ending.length);
  if (files.length > 1) {
    const inside = unused(stem, taken);
    return { inside, isNew: true, names, isThere: names.map(() => false) };
  }
  for (let number = 2; number < MOST_NAMES; number++) {
    const name = `${stem}-${number}${ending}`;
    const there = await isThere(name, first);
    if (there !== null) {
      return { inside: '', isNew: false, names: [name], isThere: [there] };
    }
  }
  throw tooMany(first.name);
}

/** The name of a folder that is not taken. */
function unused(stem: string, taken: ReadonlyMap<string, unknown>): string {
  for (let number = 1; number < MOST_NAMES; number++) {
    const name = number === 1 ? stem : `${stem}-${number}`;
    if (!taken.has(name)) {
      return name;
    }
  }
  throw tooMany(stem);
}

function tooMany(name: string): Error {
  return new Error(`There are already ${MOST_NAMES} files named like ${name}. Rename it first.`);
}

/** Whether a file of the server has the content of another one; false where that cannot be determined. */
async function isSame(contents: Contents.IManager, path: string, file: File): Promise<boolean> {
  if (!globalThis.crypto?.subtle) {
    return false;
  }
  try {
    const model = await contents.get(path, { content: false, hash: true });
    if (model.hash_algorithm !== 'sha256' || !model.hash) {
      return false;
    }
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()));
    return model.hash === [...digest].map(byte => byte.toString(16).padStart(2, '0')).join('');
  } catch {
    return false;
  }
}

function base64(part: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).replace(/^[^,]*,/, ''));
    reader.onerror = () => reject(reader.error ?? new Error('the file cannot be read'));
    reader.readAsDataURL(part);
  });
}
