// The async iterator behind `bus.events()`: a bounded buffer between the connection and a loop.

import { TidingsError } from "./errors.js";

/** A pending call of `next`. */
interface PendingNext<Item> {
  resolve(result: IteratorResult<Item, undefined>): void;
  reject(error: unknown): void;
}

/**
 * An async iterator over the pushed items. It never drops an item in the middle: if the buffer overflows, the stream ends,
 * and the loop receives the buffered items and then an error.
 */
export class EventStream<Item> implements AsyncIterableIterator<Item, undefined> {
  #capacity: number;
  readonly #onEnd: () => void;
  readonly #pending: PendingNext<Item>[] = [];
  #items: Item[] = [];
  #ended = false;
  #error: { value: unknown } | undefined;

  /** `capacity` is the size of the buffer, in items. `onEnd` is called once, when the stream ends for any reason. */
  constructor(capacity: number, onEnd: () => void) {
    this.#capacity = capacity;
    this.#onEnd = onEnd;
  }

  /** Passes an item to the loop, or to the buffer. */
  push(item: Item): void {
    if (this.#ended) return;
    const next = this.#pending.shift();
    if (next) {
      next.resolve({ value: item, done: false });
    } else if (this.#items.length < this.#capacity) {
      this.#items.push(item);
    } else {
      const message =
        `more than ${this.#capacity} events are waiting: the loop is slower than the events arrive; raise the option buffer, ` +
        "or make the loop faster, and resume with since at the position of the last event";
      this.fail(new TidingsError("buffer-overflow", message));
    }
  }

  /** Passes items that do not count against the size of the buffer. */
  preload(items: readonly Item[]): void {
    this.#capacity += items.length;
    for (const item of items) this.push(item);
  }

  /** Ends the stream. The loop still receives the buffered items. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnd();
    for (const { resolve, reject } of this.#pending.splice(0)) {
      void this.next().then(resolve, reject);
    }
  }

  /** As `end`, but the loop throws `error` after the buffered items. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#error = { value: error };
    this.end();
  }

  /** As `fail`, but discards the buffered items, so that the loop throws at once. */
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
    return new Promise((resolve, reject) => this.#pending.push({ resolve, reject }));
  }

  /** Called by the runtime when the loop is left. */
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
