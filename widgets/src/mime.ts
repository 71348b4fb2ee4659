/** Types of outputs that deploykit shows; JupyterLab loads this by itself. */

import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { kept } from './kept';
import vegalite from './vegalite';

const extensions: IRenderMime.IExtension[] = [vegalite, kept];

export default extensions;
