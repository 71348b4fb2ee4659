/** What is done to a chart before it is drawn. */

export const MIME_TYPE = 'application/vnd.deploykit.vegalite.v6+json';

/** A copy without what would change how charts are drawn here: `usermeta` can load settings and switch safety off. */
export function harmless(spec: Record<string, unknown>): Record<string, unknown> {
  const { usermeta: _, ...rest } = structuredClone(spec);
  return rest;
}

/**
 * Colors and fonts of JupyterLab, for what the chart leaves open.
 *
 * @param variable The value of a CSS variable; empty when there is none.
 */
export function themeConfig(variable: (name: string) => string): Record<string, unknown> {
  const ink = variable('--jp-ui-font-color0') || '#000';
  const soft = variable('--jp-ui-font-color1') || '#424242';
  const line = variable('--jp-border-color2') || '#e0e0e0';
  const font = variable('--jp-ui-font-family') || 'sans-serif';
  return {
    background: 'transparent',
    font,
    title: { color: ink, subtitleColor: soft },
    axis: { labelColor: soft, titleColor: ink, gridColor: line, domainColor: soft, tickColor: soft },
    legend: { labelColor: soft, titleColor: ink },
    header: { labelColor: soft, titleColor: ink },
    view: { stroke: line },
    text: { color: ink }
  };
}
