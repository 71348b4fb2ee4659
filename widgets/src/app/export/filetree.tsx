/** Files of a folder as a tree, with sizes. */

import { Fragment, type ReactElement } from 'react';
import { Icon } from '../elements/icons';
import { kilobytes } from '../format';
import { folded, type IFile, type IFolder } from './tree';

export function FileTree({ files }: { files: readonly IFile[] }): ReactElement {
  return <Level folder={folded(files)} />;
}

function Level({ folder }: { folder: IFolder }): ReactElement {
  return (
    <ul className="dk-tree">
      {folder.folders.map(inner => (
        <Fragment key={inner.name}>
          <li>
            <span className="dk-tree-line">
              <Icon name="folder" />
              <span className="dk-tree-name">{inner.name}/</span>
              <span className="dk-soft dk-n">{kilobytes(inner.bytes)} kB</span>
            </span>
            <Level folder={inner} />
          </li>
        </Fragment>
      ))}
      {folder.files.map(({ path, bytes }) => (
        <li key={path}>
          <span className="dk-tree-line">
            <Icon name="file" />
            <span className="dk-tree-name">{path}</span>
            <span className="dk-soft dk-n">{kilobytes(bytes)} kB</span>
          </span>
        </li>
      ))}
    </ul>
  );
}
