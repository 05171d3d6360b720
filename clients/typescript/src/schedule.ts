// When the next attempt to connect begins: after a delay that grows with the failures in a row, or when a draining node said.

import { type Backoff, delayBefore } from "./backoff.js";

/** How often a connection may be replaced without delay, in milliseconds. */
const AT_ONCE_MS = 1_000;

export class Schedule {
  readonly #backoff: Backoff;
  readonly #random: () => number;
  #failures = 0;
  /** When a draining node wants to be left, by `performance.now()`, as all times here. */
  #leaveAt: number | undefined;
  /** When a connection was last replaced without delay. */
  #replacedAt = -Infinity;

  constructor(backoff: Backoff, random: () => number) {
    this.#backoff = backoff;
    this.#random = random;
  }

  /** The number of failures in a row. */
  get attempt(): number {
    return this.#failures;
  }

  /** A draining node wants to be left then, and not before. `undefined`: no node does. */
  leaveAt(time: number | undefined): void {
    this.#leaveAt = time;
  }

  /** The delay before the next attempt, after a connection that was open for `lastedMs`. `isWanted`: nothing has failed. */
  next(lastedMs: number, isWanted = false): { readonly attempt: number; readonly delayMs: number } {
    const now = performance.now();
    // A daemon in trouble may send welcome and close soon after. Only a connection that lasted resets the backoff.
    if (lastedMs >= this.#backoff.maxMs) this.#failures = 0;
    // A client that wants another connection again and again must not keep the daemon busy.
    if (isWanted && now - this.#replacedAt >= AT_ONCE_MS) {
      this.#replacedAt = now;
      return { attempt: this.#failures || 1, delayMs: 0 };
    }
    const leaveAt = this.#leaveAt;
    this.#leaveAt = undefined;
    const delayMs = leaveAt === undefined ? delayBefore(this.#failures, this.#backoff, this.#random) : Math.max(0, leaveAt - now);
    return { attempt: ++this.#failures, delayMs };
  }
}
