import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Link, Refused } from '../src/app/link';
import type { ToKernel } from '../src/app/protocol';

let sent: ToKernel[];
let link: Link;

beforeEach(() => {
  sent = [];
  link = new Link(message => sent.push(message), 'page');
});

test('answers reach who asked, whatever their order', async () => {
  const [one, two] = [link.ask('a'), link.ask('b')];
  link.answered({ type: 'reply', id: 'page/1', ok: false, error: 'no.' }, []);
  link.answered({ type: 'reply', id: 'page/0', ok: true, value: 1 }, []);
  await expect(one).resolves.toEqual({ value: 1, buffers: [] });
  await expect(two).rejects.toThrow('no.');
});

test('without a kernel every question is refused', async () => {
  const waiting = link.ask('a');
  link.close();
  await expect(waiting).rejects.toBeInstanceOf(Refused);
  await expect(link.ask('b')).rejects.toThrow('The kernel stopped');
  expect(sent).toHaveLength(1);
});

afterEach(() => vi.unstubAllGlobals());

test('pages of plain HTTP also ask', () => {
  vi.stubGlobal('crypto', { getRandomValues: crypto.getRandomValues.bind(crypto) });
  void new Link(message => sent.push(message)).ask('a');
  expect(sent).toEqual([expect.objectContaining({ command: 'a', id: expect.stringMatching(/^.{36}\/0$/) })]);
});
