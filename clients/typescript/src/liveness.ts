// Whether a connection is alive: judged by what arrives, and never by one late timer.
//
// Browsers let the timers of a hidden page run once a minute, and those of a frozen page not at all. What arrived meanwhile may be
// handled only after the timer. So a late timer asks the daemon, and a later one judges.

import type { Timer, Timers } from "./timers.js";

/** How long the daemon may take to answer a `ping`, in milliseconds. */
const PING_TIMEOUT_MS = 5_000;
/** A timer that fires so much later than it should, in milliseconds, was held back. */
const LATE_MS = 1_000;

export interface LivenessOptions {
  readonly timers: Timers;
  /** Sends a `ping` if the connection is open. */
  readonly ping: () => void;
  readonly onDead: (reason: string) => void;
}

export class Liveness {
  readonly #options: LivenessOptions;
  #receivedAt = 0;
  #watchTimer: Timer | undefined;
  #pingTimer: Timer | undefined;

  constructor(options: LivenessOptions) {
    this.#options = options;
  }

  /** How long ago the last frame of this connection arrived, in milliseconds. */
  get silentMs(): number {
    return performance.now() - this.#receivedAt;
  }

  /** A frame has arrived. Returns when. */
  received(): number {
    return (this.#receivedAt = performance.now());
  }

  /** The connection is dead when nothing arrives for `limitMs`. Uses one timer, however many frames arrive. */
  watch(limitMs: number, reason: string): void {
    const { timers, ping, onDead } = this.#options;
    timers.stop(this.#watchTimer);
    this.received();
    const wait = (delayMs: number) => {
      const due = performance.now() + delayMs;
      this.#watchTimer = timers.start(() => {
        const left = limitMs - this.silentMs;
        if (left > 0) return wait(left);
        if (performance.now() - due < LATE_MS) return onDead(reason);
        ping();
        wait(PING_TIMEOUT_MS);
      }, delayMs);
    };
    wait(limitMs);
  }

  /** Asks the daemon. The connection is dead if nothing arrives within 5 s. */
  ask(): void {
    const { timers, ping, onDead } = this.#options;
    if (this.#pingTimer !== undefined) return;
    const sentAt = performance.now();
    ping();
    this.#pingTimer = timers.start(() => {
      this.#pingTimer = undefined;
      if (this.#receivedAt >= sentAt) return;
      if (performance.now() - sentAt > PING_TIMEOUT_MS + LATE_MS) return this.ask();
      onDead(`no answer within ${PING_TIMEOUT_MS / 1000} s after the page woke up`);
    }, PING_TIMEOUT_MS);
  }

  stop(): void {
    this.#options.timers.stop(this.#watchTimer);
    this.#options.timers.stop(this.#pingTimer);
    this.#pingTimer = undefined;
  }
}
