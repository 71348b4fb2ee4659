/** Colors of the theme, for the canvas; they follow a change at once. */

import { useMemo, useSyncExternalStore } from 'react';
import { useSection } from '../store';
import { onTheme } from '../themes';

export interface ITheme {
  dark: boolean;
  ink: string;
  muted: string;
  line: string;
  surface: string;
  blue: string;
  bandOpacity: number;
  /** Of runtimes, by place. */
  palette: readonly string[];
}

const NOTHING: readonly string[] = [];

function name(): string {
  return `${document.body.dataset.jpThemeLight ?? ''} ${document.body.dataset.jpThemeName ?? ''}`;
}

export function useTheme(): ITheme {
  const shown = useSyncExternalStore(onTheme, name);
  const palettes = useSection('app')?.palette;
  return useMemo(() => {
    const dark = shown.startsWith('false');
    const style = getComputedStyle(document.body);
    const color = (variable: string, instead: string): string => style.getPropertyValue(variable).trim() || instead;
    return {
      dark,
      ink: color('--jp-ui-font-color0', dark ? '#ffffff' : '#000000'),
      muted: dark ? '#b4b4b4' : '#5a5a5a',
      line: color('--jp-border-color2', dark ? '#424242' : '#e0e0e0'),
      surface: color('--jp-layout-color1', dark ? '#212121' : '#ffffff'),
      blue: dark ? '#64b5f6' : '#1976d2',
      bandOpacity: dark ? 0.22 : 0.15,
      palette: (dark ? palettes?.dark : palettes?.light) ?? NOTHING
    };
  }, [shown, palettes]);
}
