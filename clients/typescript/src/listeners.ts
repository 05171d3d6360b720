// A set of listeners for one kind of notification.

/** The options of a listener. */
export interface ListenerOptions {
  /** Removes the listener when it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

interface Entry<Value> extends ListenerOptions {
  readonly listener: (value: Value) => void;
}

/**
 * Listeners, which are notified in the order in which they were added.
 *
 * They ask a signal whether it is aborted. A listener on the signal would stay there after the bus is closed: an application may have
 * one signal for its whole life, and many buses.
 */
export class Listeners<Value> {
  /** An entry for each call of `add`, so that the same listener can be added twice. */
  readonly #entries = new Set<Entry<Value>>();
  readonly #failed: (cause: unknown) => void;

  /** `failed` receives what a listener throws, so that the other listeners are still notified. */
  constructor(failed: (cause: unknown) => void) {
    this.#failed = failed;
  }

  /** Adds a listener. Returns a function that removes it. */
  add(listener: (value: Value) => void, { signal }: ListenerOptions = {}): () => void {
    const entry = { listener, signal };
    this.#dropAborted();
    this.#entries.add(entry);
    return () => void this.#entries.delete(entry);
  }

  /** The number of listeners. */
  get size(): number {
    this.#dropAborted();
    return this.#entries.size;
  }

  #dropAborted(): void {
    for (const entry of this.#entries) if (entry.signal?.aborted) this.#entries.delete(entry);
  }

  /** Calls every listener. One that a listener removes meanwhile is not called. */
  notify(value: Value): void {
    for (const entry of [...this.#entries]) {
      try {
        if (this.#entries.has(entry) && !entry.signal?.aborted) entry.listener(value);
      } catch (cause) {
        this.#failed(cause);
      }
    }
  }
}
