// Who wants to be told of something.

/** A set of listeners, told in the order in which they came. */
export class Listeners<Value> {
  readonly #listeners = new Set<(value: Value) => void>();
  readonly #failed: (cause: unknown) => void;

  /** `failed` gets what a listener throws: it is not the others' fault. */
  constructor(failed: (cause: unknown) => void) {
    this.#failed = failed;
  }

  /** Adds a listener; the answer takes it away again. */
  add(listener: (value: Value) => void): () => void {
    const own = (value: Value) => listener(value);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  get size(): number {
    return this.#listeners.size;
  }

  tell(value: Value): void {
    for (const listener of [...this.#listeners]) {
      try {
        if (this.#listeners.has(listener)) listener(value);
      } catch (cause) {
        this.#failed(cause);
      }
    }
  }
}
