// @vitest-environment jsdom
import { act } from 'react';
import { afterEach, expect, it, vi } from 'vitest';
import { RangeSlider } from '../../src/app/space/slider';
import { aBench, clear, show } from '../dom';

afterEach(clear);

it('two thumbs at one place are pulled apart to either side', async () => {
  Element.prototype.setPointerCapture = vi.fn();
  vi.spyOn(Element.prototype, 'getBoundingClientRect').mockReturnValue({ left: 0, width: 100 } as DOMRect);
  const onMove = vi.fn();
  const props = { minimum: 0, maximum: 1, step: 0.1, share: false, unit: '', label: 'sparsity', values: [0.5] };
  const place = await show(
    aBench(() => null).bench,
    <RangeSlider {...props} disabled={false} describedBy="" onMove={onMove} onHold={vi.fn()} />
  );
  const slider = place.querySelector('.dk-slider');
  const at = (type: string, clientX: number): void =>
    act(() => void slider?.dispatchEvent(new MouseEvent(type, { bubbles: true, button: 0, clientX })));
  for (const [to, expected] of [
    [20, [0.2, 0.5]],
    [80, [0.5, 0.8]]
  ] as const) {
    at('pointerdown', 50);
    at('pointermove', to);
    expect(onMove).toHaveBeenLastCalledWith(...expected);
    at('pointerup', to);
  }
});
