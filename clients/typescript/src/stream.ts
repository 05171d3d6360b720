// A bounded buffer between what pushes events and a loop that takes them at its own pace.

import { TidingsError } from "./errors.js";

interface Taker<Item> {
  resolve(result: IteratorResult<Item, undefined>): void;
  reject(error: unknown): void;
}

/**
 * An async iterator over what is pushed. It never drops an item from the middle: where the buffer overflows, the
 * stream ends there, and the loop gets what was before and then an error.
 */
export class EventStream<Item> implements AsyncIterableIterator<Item, undefined> {
  readonly #capacity: number;
  readonly #onEnd: () => void;
  readonly #takers: Taker<Item>[] = [];
  #items: Item[] = [];
  #ended = false;
  #error: { value: unknown } | undefined;

  /** `onEnd` is called once, whoever ends the stream. */
  constructor(capacity: number, onEnd: () => void) {
    this.#capacity = capacity;
    this.#onEnd = onEnd;
  }

  push(item: Item): void {
    if (this.#ended) return;
    const taker = this.#takers.shift();
    if (taker) {
      taker.resolve({ value: item, done: false });
    } else if (this.#items.length < this.#capacity) {
      this.#items.push(item);
    } else {
      const message = `more than ${this.#capacity} events were waiting: the loop is slower than they come`;
      this.fail(new TidingsError("buffer-overflow", message));
    }
  }

  /** Nothing more will come; what is buffered can still be taken. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnd();
    for (const taker of this.#takers.splice(0)) {
      void this.next().then(taker.resolve, taker.reject);
    }
  }

  /** As `end`, but the loop throws after what is buffered. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#error = { value: error };
    this.end();
  }

  /** As `fail`, but at once: what is buffered is given up. */
  abort(reason: unknown): void {
    this.#items = [];
    this.fail(reason);
  }

  next(): Promise<IteratorResult<Item, undefined>> {
    if (this.#items.length > 0) {
      return Promise.resolve({ value: this.#items.shift() as Item, done: false });
    }
    if (this.#error) {
      const { value } = this.#error;
      this.#error = undefined;
      return Promise.reject(value);
    }
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.#takers.push({ resolve, reject }));
  }

  /** Called when a loop is left. */
  return(): Promise<IteratorResult<Item, undefined>> {
    this.#items = [];
    this.#error = undefined;
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
