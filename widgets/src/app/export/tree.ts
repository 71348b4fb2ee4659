/** Relative paths as folders in folders. */

export interface IFile {
  /** Relative, with slashes; in a folder, the name. */
  path: string;
  bytes: number;
}

export interface IFolder {
  name: string;
  /** Of all files in it. */
  bytes: number;
  folders: IFolder[];
  files: IFile[];
}

export function folded(files: readonly IFile[], name = ''): IFolder {
  const here: IFile[] = [];
  const below = new Map<string, IFile[]>();
  for (const { path, bytes } of files) {
    const at = path.indexOf('/');
    if (at < 0) {
      here.push({ path, bytes });
    } else {
      const first = path.slice(0, at);
      below.set(first, [...(below.get(first) ?? []), { path: path.slice(at + 1), bytes }]);
    }
  }
  return {
    name,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    folders: [...below].map(([inner, content]) => folded(content, inner)),
    files: here
  };
}
