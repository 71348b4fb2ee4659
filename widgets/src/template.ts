/** The notebook template, filled with what it is opened for. */

import type { PartialJSONObject, PartialJSONValue } from '@lumino/coreutils';

interface ICell extends PartialJSONObject {
  cell_type: string;
  source: string | string[];
}

/**
 * The template with the values of its `parameters` cell replaced.
 *
 * @throws Error when the template has no such cell or lacks one of the parameters.
 */
export function fill(template: PartialJSONValue, values: Readonly<Record<string, string>>): PartialJSONObject {
  const notebook = structuredClone(template) as PartialJSONObject;
  const cell = ((notebook.cells ?? []) as ICell[]).find(isParameters);
  if (!cell) {
    throw new Error('The notebook template does not have a cell tagged "parameters".');
  }
  let source = Array.isArray(cell.source) ? cell.source.join('') : cell.source;
  for (const [name, value] of Object.entries(values)) {
    const line = new RegExp(`^(${name}: str = ).*$`, 'm');
    if (!line.test(source)) {
      throw new Error(`The notebook template does not have a parameter ${name}.`);
    }
    source = source.replace(line, (_, left: string) => left + literal(value));
  }
  cell.source = source;
  return notebook;
}

/** A string as Python writes it. JSON's escapes are Python's too, but for the separators it leaves as they are. */
export function literal(value: string): string {
  return JSON.stringify(value).replace(/[\u007f-\u009f\u2028\u2029]/g, escapeCode);
}

function escapeCode(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function isParameters(cell: ICell): boolean {
  const tags = (cell.metadata as PartialJSONObject | undefined)?.tags;
  return cell.cell_type === 'code' && Array.isArray(tags) && tags.includes('parameters');
}
