import { expect, test } from 'vitest';
import { limited } from '../../src/app/explore/panes';

test('columns keep room for what is in them, and leave room for the others', () => {
  expect(limited('space', 10)).toBe(180);
  expect(limited('space', 250.4)).toBe(250);
  expect(limited('candidate', 5000)).toBe(640);
});
