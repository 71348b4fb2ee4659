/** Asks the kernel, and remembers who waits for which answer. */

import { UUID } from '@lumino/coreutils';
import type { FromKernel, IAnswer, ToKernel } from './protocol';

/** The kernel said no; the message is for people. */
export class Refused extends Error {}

/** What is shown when there is no longer an answer. */
export const GONE = 'The kernel stopped. Run the cell again: finished candidates are restored from the store.';

interface IWaiting {
  resolve(answer: IAnswer<unknown>): void;
  reject(error: Error): void;
}

export class Link {
  /**
   * @param send Sends a message to the kernel.
   * @param prefix Makes the numbers of this page's questions unlike those of other pages.
   */
  constructor(
    private readonly send: (message: ToKernel) => void,
    private readonly prefix: string = UUID.uuid4() // pages of plain HTTP have no crypto.randomUUID
  ) {}

  /** Ask for a command; rejects with `Refused` when the kernel refuses or is gone. */
  ask<T = unknown>(command: string, args: Record<string, unknown> = {}): Promise<IAnswer<T>> {
    if (this.gone) {
      return Promise.reject(new Refused(GONE));
    }
    const id = `${this.prefix}/${this.count++}`;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: answer => resolve(answer as IAnswer<T>), reject });
      this.send({ type: 'do', id, command, args });
    });
  }

  /** An answer has come. */
  answered(message: FromKernel & { type: 'reply' }, buffers: DataView[]): void {
    const waiting = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if (message.ok) {
      waiting?.resolve({ value: message.value, buffers });
    } else {
      waiting?.reject(new Refused(message.error));
    }
  }

  /** The kernel is gone: there will be no more answers. */
  close(): void {
    this.gone = true;
    for (const { reject } of this.waiting.values()) {
      reject(new Refused(GONE));
    }
    this.waiting.clear();
  }

  private readonly waiting = new Map<string, IWaiting>();
  private count = 0;
  private gone = false;
}
