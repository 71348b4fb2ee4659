/** Types of outputs that deploykit shows; JupyterLab loads this by itself. */

import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import vegalite from './charts/vegalite';
import { kept } from './kept';

const extensions: IRenderMime.IExtension[] = [vegalite, kept];

export default extensions;
