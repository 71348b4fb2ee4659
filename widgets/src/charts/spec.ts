/** What is applied to a chart before it is drawn. */

export const MIME_TYPE = 'application/vnd.deploykit.vegalite.v6+json';

/** Where no color is one of the chart. */
const DATA = new Set(['data', 'datasets', 'values']);

type Colors = Readonly<Record<string, string>>;

/**
 * A copy to be drawn: in the colors of the theme, and without `usermeta`, which can load settings and switch safety off.
 *
 * @param dark Whether to take the colors the chart names for dark themes.
 */
export function prepare(spec: Record<string, unknown>, dark: boolean): Record<string, unknown> {
  const { usermeta, ...rest } = structuredClone(spec);
  const colors = darkColors(usermeta);
  return dark ? (recolored(rest, colors) as Record<string, unknown>) : rest;
}

function darkColors(usermeta: unknown): Colors {
  const named = (usermeta as { deploykit?: { dark?: unknown } } | undefined)?.deploykit?.dark ?? {};
  const found = Object.entries(named).filter(pair => pair.every(isColor));
  return Object.fromEntries(found.map(([light, dark]) => [light.toLowerCase(), dark]));
}

function isColor(value: unknown): value is string {
  return typeof value === 'string' && /^#[0-9a-f]{6}$/i.test(value);
}

function recolored(value: unknown, colors: Colors): unknown {
  if (typeof value === 'string') {
    return colors[value.toLowerCase()] ?? value;
  }
  if (Array.isArray(value)) {
    return value.map(item => recolored(item, colors));
  }
  if (typeof value === 'object' && value !== null) {
    const pairs = Object.entries(value);
    return Object.fromEntries(pairs.map(([key, item]) => [key, DATA.has(key) ? item : recolored(item, colors)]));
  }
  return value;
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
