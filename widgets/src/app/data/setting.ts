/** A setting that counts with the next Load. */

import { type ITyped, useTyped, useWritten } from '../elements/field';
import { Refused } from '../link';
import { useBench } from '../store';

/**
 * A field of the form; the kernel reads it as soon as it is typed.
 *
 * @param name What the kernel calls it.
 * @param held What the data that are loaded were read with.
 * @param refused Why the last data could not be loaded; "" when they could.
 * @param onTaken Called with what can be used.
 */
export function useSetting(
  name: string,
  held: string,
  refused: string,
  onTaken?: (name: string, text: string) => void
): ITyped {
  const [text, setText] = useWritten(held, refused);
  const { link } = useBench();
  return useTyped(text, async typed => {
    try {
      await link.ask('check_setting', { name, text: typed });
    } catch (failure) {
      return failure instanceof Refused ? failure.message : String(failure);
    }
    setText(typed);
    onTaken?.(name, typed);
    return '';
  });
}
