// A set of listeners for one kind of notification.

import { onAbort } from "./aborting.js";

/** The options of a listener. */
export interface ListenerOptions {
  /** Removes the listener when it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** Listeners, which are notified in the order in which they were added. */
export class Listeners<Value> {
  readonly #listeners = new Set<(value: Value) => void>();
  readonly #failed: (cause: unknown) => void;

  /** `failed` receives what a listener throws, so that the other listeners are still notified. */
  constructor(failed: (cause: unknown) => void) {
    this.#failed = failed;
  }

  /** Adds a listener. Returns a function that removes it. */
  add(listener: (value: Value) => void, { signal }: ListenerOptions = {}): () => void {
    // A function of its own, so that the same listener can be added twice.
    const entry = (value: Value) => listener(value);
    this.#listeners.add(entry);
    const forget = onAbort(signal, () => this.#listeners.delete(entry));
    return () => {
      forget();
      this.#listeners.delete(entry);
    };
  }

  get size(): number {
    return this.#listeners.size;
  }

  /** Calls every listener. One that a listener removes meanwhile is not called. */
  notify(value: Value): void {
    for (const listener of [...this.#listeners]) {
      try {
        if (this.#listeners.has(listener)) listener(value);
      } catch (cause) {
        this.#failed(cause);
      }
    }
  }
}
