/** deploykit in JupyterLab. One plugin a file; what shows charts is in vegalite.ts, which JupyterLab loads by itself. */

import { graphlink } from './graph/link';
import { graph } from './graph/plugin';
import { start } from './start';
import { workbench } from './workbench';

export * from './tokens';
export default [graph, graphlink, start, workbench];
