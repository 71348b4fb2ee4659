/** A panel as an outsider would write it, the browser's part: src/app/failures/panel.tsx. */

import type { ReactElement } from 'react';
import { Button, Part, Problem, useAsk } from '../elements/parts';
import { useSection } from '../store';

declare module '../protocol' {
  interface ISections {
    failures: { key: string; name: string; cause: string }[];
  }
}

export default function Failures(): ReactElement {
  const failures = useSection('failures') ?? [];
  const { ask, error } = useAsk();
  return (
    <Part title="Failures">
      {failures.map(({ key, name, cause }) => (
        <p key={key}>
          {name}: {cause} <Button onClick={() => void ask('retry_failure', { key })}>Retry</Button>
        </p>
      ))}
      <Problem words={error} />
    </Part>
  );
}
