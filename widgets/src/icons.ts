import { LabIcon } from '@jupyterlab/ui-components';
import graph from '../style/graph.svg';
import workbench from '../style/workbench.svg';

export const graphIcon = new LabIcon({ name: 'deploykit:graph', svgstr: graph });
export const workbenchIcon = new LabIcon({ name: 'deploykit:workbench', svgstr: workbench });
