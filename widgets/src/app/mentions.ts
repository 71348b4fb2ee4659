/** What screen readers announce of changes that were not requested: together, and not more often than one can follow. */

/** Words wait for this long a silence of their topics, */
const QUIET_MS = 1000;
/** but never longer than this, which is also the shortest time between two announcements. */
const EVERY_MS = 10_000;

export class Mentions {
  constructor(private readonly say: (words: string) => void) {}

  mention(topic: string, words: string): void {
    const now = performance.now();
    if (this.waiting.size === 0) {
      this.since = now;
    }
    this.waiting.set(topic, words);
    const quiet = Math.min(now + QUIET_MS, this.since + EVERY_MS);
    this.wait(Math.max(quiet, this.last + EVERY_MS) - now);
  }

  drop(topic: string): void {
    this.waiting.delete(topic);
  }

  clear(): void {
    this.waiting.clear();
    clearTimeout(this.timer);
  }

  private wait(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const words = [...this.waiting.values()].join('. ');
      this.waiting.clear();
      if (words) {
        this.last = performance.now();
        this.say(words);
      }
    }, ms);
  }

  private readonly waiting = new Map<string, string>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private last = Number.NEGATIVE_INFINITY;
  private since = 0;
}
