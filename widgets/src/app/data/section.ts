/** What the kernel sends about the data. */

export interface IDataFacts {
  examples: number;
  digest: string;
  inputs: string[];
  splits: { name: string; count: number }[];
  labels: string;
  preprocessing: string[];
  /** What was taken for what, what was left out, and what is remarkable. */
  reading: string[];
  classes: { name: string; count: number }[];
  moreClasses: number;
  balance: { words: string; even: boolean };
  pictures: boolean;
}

interface ISuspicion {
  text: string;
  /** The line of code that reads it so; '' where the panel can do it. */
  remedy: string;
  /** What the button says; '' when the panel cannot do it by itself. */
  label: string;
}

export interface IMeaning {
  /** Heading and sentence. */
  lines: [string, string][];
  ok: boolean;
  summary: string;
  warnings: string[];
  suspicions: ISuspicion[];
}

export interface ISynthesis {
  /** Arguments of `dk.synthesize`, as they are typed. */
  settings: { name: string; label: string; help: string; choices: string[]; value: string; example: string }[];
  /** Whether the inputs that calibrate and train are synthesized. */
  used: boolean;
  /** Whether they evaluate as well, since no data were given. */
  alone: boolean;
  /** How far it is, '' while it is not running. */
  running: string;
}

export interface IData {
  facts: IDataFacts | null;
  /** What everything is taken to mean, null before that is known. */
  meaning: IMeaning | null;
  /** What the notebook calls the data, '' when they have no name. */
  name: string;
  path: string;
  scale: string;
  reshape: string;
  layout: string;
  mean: string;
  std: string;
  /** Of the kind of data that is loaded, as they are typed. */
  settings: Record<string, string>;
  resolution: { words: string; enough: boolean };
  synthesis: ISynthesis;
}

declare module '../protocol' {
  interface ISections {
    data: IData;
  }
}
