import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fill, literal } from '../src/template';

const shipped = JSON.parse(
  readFileSync(new URL('../deploykit_widgets/server/templates/optimize.ipynb', import.meta.url), 'utf8')
);

interface INotebook {
  cells: { source: string; metadata: { tags?: string[] } }[];
}

function parameters(values: Record<string, string>): string[] {
  const notebook = fill(shipped, values) as unknown as INotebook;
  const cell = notebook.cells.find(c => c.metadata.tags?.includes('parameters'));
  return (cell?.source ?? '').split('\n');
}

describe('the template', () => {
  it('takes the path of the model and the store, and keeps the rest', () => {
    const lines = parameters({ model_path: 'net.onnx', store: 'runs/net' });
    expect(lines).toContain('model_path: str = "net.onnx"');
    expect(lines).toContain('store: str = "runs/net"');
    expect(lines).toContain('data_path: str = ""');
    expect(shipped.cells[1].source.join('')).toContain('model_path: str = ""');
  });

  it('holds names of files as text, whatever they are', () => {
    const name = 'a"; import os; $& \\ \n\u2028\u{1f600}.onnx';
    const line = parameters({ model_path: name }).find(text => text.startsWith('model_path'));
    expect(line).toBe('model_path: str = "a\\"; import os; $& \\\\ \\n\\u2028\u{1f600}.onnx"');
    expect(literal('\u007f')).toBe('"\\u007f"');
  });

  it('is refused when it has no such parameter or no such cell', () => {
    expect(() => fill(shipped, { nothing: '' })).toThrow('not have a parameter nothing');
    expect(() => fill({ cells: [] }, { model_path: '' })).toThrow('not have a cell tagged');
  });
});
