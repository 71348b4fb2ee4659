/** The chart libraries, loaded when the first chart is drawn, and configured to load and link nothing. */

import type { EmbedOptions } from 'vega-embed';

export interface IChartParts {
  embed: typeof import('vega-embed').default;
  changeset: typeof import('vega').changeset;
  /** Options that all charts have. */
  options: EmbedOptions;
}

export async function chartParts(): Promise<IChartParts> {
  const [{ default: embed }, { expressionInterpreter }, vega] = await Promise.all([
    import('vega-embed'),
    import('vega-interpreter'),
    import('vega')
  ]);
  const loader = vega.loader();
  // Data is in the spec; a spec from another person's notebook must not make the browser ask for anything.
  loader.load = (uri: string) =>
    Promise.reject(new Error(`Charts may not load other files, and this one asks for ${uri}.`));
  loader.sanitize = (uri: string) =>
    uri.startsWith('data:image/')
      ? Promise.resolve({ href: uri })
      : Promise.reject(new Error('Charts may not open links.'));
  return {
    embed,
    changeset: vega.changeset,
    options: { mode: 'vega-lite', ast: true, expr: expressionInterpreter, loader }
  };
}
