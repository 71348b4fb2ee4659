/** Keeps the failure of one panel away from the others. */

import { Component, type ReactNode } from 'react';
import { Icon } from './elements/icons';
import { Button } from './elements/parts';

/** A panel that fails takes nothing else with it. */
export class Guard extends Component<{ name: string; children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error): { error: Error } {
    return { error };
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (error === null) {
      return this.props.children;
    }
    return (
      <div className="dk-problem" role="alert">
        <Icon name="warning" />
        <span>
          This panel ({this.props.name}) cannot be drawn: {error.message}
        </span>
        <Button onClick={() => this.setState({ error: null })}>Try again</Button>
      </div>
    );
  }
}
