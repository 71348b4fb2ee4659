import { describe, expect, it } from 'vitest';
import { Latest } from '../../src/app/space/latest';
import {
  afterKey,
  asList,
  atShare,
  between,
  type IControl,
  listed,
  parsed,
  spread,
  stepOf,
  withUnit
} from '../../src/app/space/values';

const SHARE = { minimum: 0, maximum: 0.99, step: 0.05, share: true, unit: '' };
const COUNT = { minimum: 1, maximum: 8, step: 1, share: false, unit: 'epochs' };

describe('values from both ends and a step', () => {
  it.each([
    [0.5, 0.9, 0.2, [0.5, 0.7, 0.9]],
    [0.5, 0.9, 0.3, [0.5, 0.8, 0.9]],
    [0.1, 0.7, 0.1, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]],
    [2, 2, 1, [2]],
    [1, 8, 0, [1, 8]]
  ])('%s to %s by %s', (from, to, step, values) => {
    expect(spread(from, to, step)).toEqual(values);
  });

  it.each([
    [[0.5], 0],
    [[0.5, 0.8], 0.3],
    [[0.5, 0.7, 0.9], 0.2],
    [[0.5, 0.7, 0.9, 0.95], 0.2],
    [[0.5, 0.7, 0.8, 0.9], null],
    [[], 0]
  ])('find the step of %j', (values, step) => {
    expect(stepOf(values)).toBe(step);
  });
});

describe('moving an end', () => {
  it('keeps the step', () => {
    expect(between([0.5, 0.7, 0.9], 0.3, 0.9)).toEqual([0.3, 0.5, 0.7, 0.9]);
    expect(between([0.5, 0.7, 0.9], 0.5, 0.8)).toEqual([0.5, 0.7, 0.8]);
  });

  it('keeps irregular values that are still inside', () => {
    expect(between([0.5, 0.7, 0.8, 0.9], 0.6, 0.85)).toEqual([0.6, 0.7, 0.8, 0.85]);
  });

  it('leaves two values two, and makes one of two that meet', () => {
    expect(between([0.5, 0.8], 0.5, 0.95)).toEqual([0.5, 0.95]);
    expect(between([0.5, 0.8], 0.8, 0.8)).toEqual([0.8]);
    expect(between([0.5], 0.5, 0.6)).toEqual([0.5, 0.6]);
  });
});

describe('keys of a slider', () => {
  it.each([
    ['ArrowRight', 0.5, 0.55],
    ['ArrowUp', 0.5, 0.55],
    ['ArrowLeft', 0.5, 0.45],
    ['ArrowDown', 0.5, 0.45],
    ['PageUp', 0.5, 0.75],
    ['PageDown', 0.5, 0.25],
    ['Home', 0.5, 0],
    ['End', 0.5, 0.99],
    ['ArrowRight', 0.95, 0.99],
    ['ArrowLeft', 0.99, 0.95],
    ['ArrowRight', 0.52, 0.55],
    ['ArrowLeft', 0.52, 0.5],
    ['ArrowLeft', 0, 0],
    ['PageDown', 0.1, 0]
  ])('%s at %s', (key, value, next) => {
    expect(afterKey(key, value, SHARE)).toBe(next);
  });

  it('leaves all other keys alone', () => {
    expect(afterKey('Tab', 0.5, SHARE)).toBeNull();
    expect(afterKey('a', 0.5, SHARE)).toBeNull();
  });

  it('goes to the nearest mark under the pointer, and to the very end', () => {
    expect(atShare(0.5, SHARE)).toBe(0.5);
    expect(atShare(0.985, SHARE)).toBe(0.99);
    expect(atShare(-1, SHARE)).toBe(0);
    expect(atShare(2, SHARE)).toBe(0.99);
    expect(atShare(0.5, COUNT)).toBe(5);
  });
});

describe('words', () => {
  it('have their unit', () => {
    expect(withUnit(0.07, SHARE)).toBe('7 %');
  });

  it('are read back', () => {
    expect(parsed('50 %', SHARE)).toBe(0.5);
    expect(parsed('57', SHARE)).toBe(0.57);
    expect(parsed('', SHARE)).toBeNaN();
    expect(parsed('half', COUNT)).toBeNaN();
    expect(parsed('1e-3', {})).toBe(0.001);
  });

  const list: Pick<IControl, 'share' | 'automatic'> = { share: false, automatic: false };

  it('make lists; what is not a number is left for the kernel to name', () => {
    expect(listed('1, 2;4', list)).toEqual([1, 2, 4]);
    expect(listed('1, many', list)).toEqual([1, 'many']);
    expect(listed(' ', list)).toEqual([]);
    expect(listed('', { ...list, automatic: true })).toEqual([null]);
    expect(asList([1, 2, null, 'many'], list)).toBe('1, 2, many');
  });
});

describe('changes on their way to the kernel', () => {
  it('go one at a time, and of those that wait only the latest', async () => {
    const sent: number[] = [];
    const answers: (() => void)[] = [];
    let settled = 0;
    const latest = new Latest<number>(
      value => {
        sent.push(value);
        return new Promise<void>(resolve => answers.push(resolve));
      },
      () => {
        settled += 1;
      }
    );
    latest.put(1);
    latest.put(2);
    latest.put(3);
    expect(sent).toEqual([1]);
    answers[0]?.();
    await new Promise(resolve => setTimeout(resolve));
    expect(sent).toEqual([1, 3]);
    expect(settled).toBe(0);
    answers[1]?.();
    await new Promise(resolve => setTimeout(resolve));
    expect(settled).toBe(1);
    latest.put(4);
    expect(sent).toEqual([1, 3, 4]);
  });
});
