import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../src', import.meta.url));
/** Types count as well: what two modules need of each other belongs in a third. */
const IMPORT = /^(?:import|export)\b[^;'"]*?from '(\.[^']+)'|\bimport\('(\.[^']+)'\)/gm;

/** Module → the modules of ours that it imports. */
function graphOf(folder: string): Map<string, string[]> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(name => /\.tsx?$/.test(name));
  const modules = new Map(files.map(name => [join(folder, name).replace(/\.tsx?$/, ''), join(folder, name)]));
  return new Map(
    [...modules].map(([module, file]) => {
      const found = [...readFileSync(file, 'utf8').matchAll(IMPORT)];
      const imported = found.map(([, usual, later]) => join(dirname(file), usual ?? later ?? ''));
      return [module, imported.filter(name => modules.has(name))];
    })
  );
}

/** The first cycle that is found, as the modules along it. */
function cycleIn(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>();
  const visit = (module: string, path: readonly string[]): string[] => {
    if (path.includes(module)) {
      return [...path.slice(path.indexOf(module)), module];
    }
    if (done.has(module)) {
      return [];
    }
    for (const next of graph.get(module) ?? []) {
      const found = visit(next, [...path, module]);
      if (found.length > 0) {
        return found;
      }
    }
    done.add(module);
    return [];
  };
  return [...graph.keys()].reduce<string[]>((found, module) => (found.length > 0 ? found : visit(module, [])), []);
}

it('no modules import each other', () => {
  const graph = graphOf(SRC);
  expect(graph.size).toBeGreaterThan(100);
  expect(graph.get(join(SRC, 'app/widget'))).toContain(join(SRC, 'app/shell'));
  expect(graph.get(join(SRC, 'workbench'))).toContain(join(SRC, 'app/widget')); // which is imported later
  expect(cycleIn(graph).map(module => module.slice(SRC.length + 1))).toEqual([]);
});

it('a cycle is found', () => {
  const graph = new Map([['a', ['b', 'c']], ['b', []], ['c', ['d']], ['d', ['b', 'c']]]); // biome-ignore format: one line
  expect(cycleIn(graph)).toEqual(['c', 'd', 'c']);
});
