// Closes the connection some time after nothing needs it any more.
//
// React's StrictMode unmounts and mounts each component again, and a change of the route unmounts some and mounts others. So the
// connection stays for a while, and a component that subscribes again finds it open.

import type { Timer, Timers } from "./timers.js";

export class Idle {
  readonly #timers: Timers;
  readonly #isNeeded: () => boolean;
  readonly #afterMs: number;
  readonly #onIdle: () => void;
  #timer: Timer | undefined;
  /** The number of calls that wait for the connection. */
  #waiting = 0;
  #isStopped = false;

  constructor(timers: Timers, afterMs: number, isNeeded: () => boolean, onIdle: () => void) {
    this.#timers = timers;
    this.#isNeeded = isNeeded;
    this.#afterMs = afterMs;
    this.#onIdle = onIdle;
  }

  /** Something has come or gone. */
  check(): void {
    if (this.#isStopped) return;
    const isNeeded = this.#waiting > 0 || this.#isNeeded();
    if (isNeeded) {
      this.#timers.stop(this.#timer);
      this.#timer = undefined;
    } else if (this.#afterMs < Infinity) {
      this.#timer ??= this.#timers.start(() => {
        this.#timer = undefined;
        if (this.#waiting === 0 && !this.#isNeeded()) this.#onIdle();
      }, this.#afterMs);
    }
  }

  /** The connection is needed until the promise is settled. */
  async during<Value>(promise: Promise<Value>): Promise<Value> {
    this.#waiting++;
    this.check();
    try {
      return await promise;
    } finally {
      this.#waiting--;
      this.check();
    }
  }

  /** The bus is closed. */
  stop(): void {
    this.#isStopped = true;
    this.#timers.stop(this.#timer);
  }
}
