// Waits until a bus is as far as the application wants it.

import { onAbort } from "./aborting.js";
import { Listeners } from "./listeners.js";

/** Those who wait. */
export class Progress {
  readonly #checks = new Listeners<void>((cause) => console.error("tidings:", cause));

  /** Resolves when `isDone` is true after a change, and rejects with what it throws, or when `signal` is aborted. */
  until(isDone: () => boolean, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        try {
          signal?.throwIfAborted();
          if (!isDone()) return;
          resolve();
        } catch (reason) {
          reject(reason);
        }
        stop();
        forget();
      };
      const stop = this.#checks.add(check);
      let forget = () => {};
      forget = onAbort(signal, check);
      check();
    });
  }

  /** Something has changed. */
  changed(): void {
    this.#checks.notify();
  }
}
