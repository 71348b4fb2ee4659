import type { Contents } from '@jupyterlab/services';
import { expect, it } from 'vitest';
import { hasGraph, type IModelFiles, isModel, modelFiles, undrawn } from '../src/filetypes';
import { upload } from '../src/hostfiles';

const FILES: IModelFiles = {
  drawn: ['.onnx', '.prototxt', '.caffemodel', '.xml'],
  types: [
    { name: 'a', label: 'A', extensions: ['.onnx'], hasGraph: true, isDefault: true, isModel: true },
    { name: 'b', label: 'B', extensions: ['.caffemodel'], hasGraph: true, isDefault: true, isModel: false },
    { name: 'c', label: 'C', extensions: ['.pmml'], hasGraph: false, isDefault: false, isModel: true }
  ]
};

it('a file has a graph, and gives a model, as the server says', () => {
  const names = ['a/Net.ONNX', 'net.caffemodel', 'net.pmml', 'net.xml', 'onnx'];
  expect(names.map(name => hasGraph(name, FILES))).toEqual([true, true, false, true, false]);
  expect(names.map(name => isModel(name, FILES))).toEqual([true, false, true, false, false]);
  expect(undrawn('a/net.v1.pmml', FILES)).toBe(
    'net.v1.pmml has no graph: Netron, which draws the graphs, does not read .pmml files.'
  );
  expect(undrawn('b/net', FILES)).toContain('does not read files like this one');
});

it('without the server extension there are no graphs', () => {
  expect(modelFiles()).toEqual({ drawn: [], types: [] });
  expect(hasGraph('net.onnx')).toBe(false);
  expect(undrawn('net.onnx')).toContain('the server has no deploykit extension, or an older one. Install');
});

/** A server with files in memory: paths, and what is in them as base64; null for folders. */
function server(held: Record<string, string | null>): Contents.IManager {
  const inside = (folder: string): string[] =>
    Object.keys(held).filter(path => path.slice(0, path.lastIndexOf('/') + 1) === (folder ? `${folder}/` : ''));
  const hash = async (content: string): Promise<string> => {
    const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
    return Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex');
  };
  const modelOf = async (path: string): Promise<object> => {
    const content = held[path] ?? '';
    const known = { name: path.split('/').pop(), size: atob(content).length };
    return { ...known, hash_algorithm: 'sha256', hash: await hash(content) };
  };
  const get = async (path: string, { content }: { content: boolean }): Promise<unknown> =>
    content ? { content: await Promise.all(inside(path).map(modelOf)) } : modelOf(path);
  const save = async (path: string, { type, content }: { type: string; content?: string }): Promise<void> => {
    held[path] = type === 'directory' ? null : (content ?? '');
  };
  return { get, save } as unknown as Contents.IManager;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const file = (name: string, text: string): File => new File([text], name);
// Node has files, and what reads them in a browser it has not.
class Reader {
  result = '';
  onload: (() => void) | null = null;
  readAsDataURL(blob: Blob): void {
    void blob.arrayBuffer().then(bytes => {
      this.result = `data:;base64,${Buffer.from(bytes).toString('base64')}`;
      this.onload?.();
    });
  }
}
Object.assign(globalThis, { FileReader: Reader });

it('a model is put beside the notebook, under another name where its own is taken', async () => {
  const held: Record<string, string | null> = { 'work/net.onnx': base64('other') };
  const contents = server(held);
  expect(await upload(contents, 'work', { files: [file('net.onnx', 'mine')] })).toBe('net-2.onnx');
  expect(await upload(contents, 'work', { files: [file('net.onnx', 'mine')] })).toBe('net-2.onnx');
  expect(held).toEqual({ 'work/net.onnx': base64('other'), 'work/net-2.onnx': base64('mine') });
});

it('files that belong together keep their names, in a folder of their own where one is taken', async () => {
  const held: Record<string, string | null> = {};
  const contents = server(held);
  const shares: number[] = [];
  const onShare = (share: number): void => void shares.push(share);
  const pair = [file('net.prototxt', 'text'), file('net.caffemodel', 'weights')];
  expect(await upload(contents, '', { files: pair, onShare })).toBe('net.prototxt');
  expect(shares).toEqual([4 / 11, 1, 1]);
  expect(await upload(contents, '', { files: pair })).toBe('net.prototxt');
  expect(Object.keys(held)).toEqual(['net.prototxt', 'net.caffemodel']);
  const next = [file('net.prototxt', 'text'), file('net.caffemodel', 'trained')];
  expect(await upload(contents, '', { files: next })).toBe('net/net.prototxt');
  expect(held['net/net.caffemodel']).toBe(base64('trained'));
  expect(held['net.caffemodel']).toBe(base64('weights'));
});
