// @vitest-environment jsdom
import { afterEach, expect, it } from 'vitest';
import { Calibration } from '../../src/app/candidate/calibration';
import { aBench, clear, show } from '../dom';

afterEach(clear);

const SUBJECT = { keyOf: 'k', letter: 'A', stamp: '' };

it('confidences are drawn with their intervals and listed', async () => {
  const rows = [
    { side: 'before', low: 0.2, high: 0.3, examples: 120, confidence: 0.25, accuracy: [0.5, 0.4, 0.75] },
    { side: 'after', low: 0.9, high: 1, examples: 8, confidence: 0.95, accuracy: [1, 0.5, 1] }
  ];
  const found = { rows, summary: 'Confidences are worse.', reason: '' };
  const place = await show(aBench(() => found).bench, <Calibration subject={SUBJECT} against="" />);
  expect(place.querySelector('svg')?.getAttribute('aria-label')).toBe(
    'Accuracy over confidence. Confidences are worse.'
  );
  const before = place.querySelector('g.dk-calibration-before');
  expect(before?.querySelector('path')?.getAttribute('d')).toBe('M50 120V50');
  expect(before?.querySelector('circle')?.getAttribute('cy')).toBe('100');
  const cells = [...place.querySelectorAll('tbody tr')].map(row => [...row.children].map(one => one.textContent));
  expect(cells[0]).toEqual(['25.0', 'before', '120', '50.0 [40.0, 75.0]']);
  expect(cells[1]?.[1]).toBe('A');
});

it('what has no confidences says why', async () => {
  const found = { rows: [], summary: '', reason: 'There are no labels.' };
  const place = await show(aBench(() => found).bench, <Calibration subject={SUBJECT} against="" />);
  expect(place.textContent).toBe('There are no labels.');
});
