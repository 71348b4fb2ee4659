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
 * Put a file into a folder of the server, in parts.
 *
 * A file of the name that is there already is never written over: it is taken when it is the same, else the new one
 * gets another name.
 *
 * @returns The name it has there.
 */
export async function upload(
  contents: Contents.IManager,
  folder: string,
  { file, onShare }: Pick<IUpload, 'file' | 'onShare'>
): Promise<string> {
  const { name, isThere } = await nameFor(contents, folder, file);
  if (isThere) {
    return name;
  }
  const path = PathExt.join(folder, name);
  const parts = Math.max(1, Math.ceil(file.size / CHUNK));
  for (let part = 0; part < parts; part++) {
    const content = await base64(file.slice(part * CHUNK, (part + 1) * CHUNK));
    const chunk = parts === 1 ? {} : { chunk: part === parts - 1 ? -1 : part + 1 };
    await contents.save(path, { type: 'file', format: 'base64', content, ...chunk });
    onShare?.((part + 1) / parts);
  }
  return name;
}

async function nameFor(
  contents: Contents.IManager,
  folder: string,
  file: File
): Promise<{ name: string; isThere: boolean }> {
  const ending = PathExt.extname(file.name);
  const stem = file.name.slice(0, file.name.length - ending.length);
  const listed = await contents.get(folder, { content: true });
  const taken = new Map((listed.content as Contents.IModel[]).map(item => [item.name, item]));
  for (let number = 1; number < MOST_NAMES; number++) {
    const name = number === 1 ? file.name : `${stem}-${number}${ending}`;
    const there = taken.get(name);
    if (there === undefined) {
      return { name, isThere: false };
    }
    if (there.size === file.size && (await isSame(contents, PathExt.join(folder, name), file))) {
      return { name, isThere: true };
    }
  }
  throw new Error(`There are already ${MOST_NAMES} files named like ${file.name}. Rename it first.`);
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
