/** What the kernel sends about the model. */

export interface IModelFacts {
  file: string;
  /** Absolute, with slashes. */
  path: string;
  shown: string;
  /** It came from the kernel's memory. */
  kernel: boolean;
  folder: boolean;
  format: string;
  label: string;
  inputs: string[];
  outputs: string[];
  parameters: number;
  bytes: number;
  /** Of the file itself, without those beside it; null for folders, and where it is gone. */
  fileBytes: number | null;
  /** Inputs and outputs that the user has named, with commas. */
  named: { inputs: string; outputs: string };
  digest: string;
  warnings: string[];
  layers: number;
}

export interface IModel {
  /** The kernel's working folder, and the home folder of its user. */
  here: { folder: string; home: string };
  endings: {
    /** Of files that a model is given by. */
    models: string[];
    /** Of files that lie beside one. */
    beside: string[];
    /** The usual ones, for people. */
    words: string;
    /** Of files whose inputs and outputs can be named. */
    named: string[];
  };
  facts: IModelFacts | null;
  /** Candidate whose profile tells the layers' times, '' for none. */
  profile: string;
}

declare module '../protocol' {
  interface ISections {
    model: IModel;
  }
}
