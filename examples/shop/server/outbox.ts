// The outbox: publishes the events that were committed with their change.
//
// An instance can die between its commit and its publication, and the bus can be away. So the event is a row of the change's own
// transaction, and a row is deleted when the daemon has taken its event. Any instance publishes any row, in order. Two that
// publish the same one do no harm: the daemon takes an id once.

import type { Bus } from "tidings-client";

import type { EventMap } from "../shared/generated/events.ts";
import type { Shop } from "./shop.ts";

/** How long a customer waits for the bus, in milliseconds. The sale is made anyway. */
const LIMIT_MS = 1_000;
/** How often the outbox tries again to publish, in milliseconds. */
const AGAIN_MS = 1_000;
/** How many events are published in one request. */
const BATCH = 100;

export class Outbox {
  readonly #shop: Shop;
  readonly #bus: Bus<EventMap>;
  #current: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #isBehind = false;

  constructor(shop: Shop, bus: Bus<EventMap>) {
    this.#shop = shop;
    this.#bus = bus;
    setInterval(() => this.flush(), AGAIN_MS);
  }

  /** How many events the bus did not take so far. */
  get waiting(): number {
    return this.#isBehind ? this.#shop.countWaiting() : 0;
  }

  /** Publishes the rows of the outbox, as far as the bus takes them now. Calls while one is under way share the next one. */
  flush(): Promise<void> {
    this.#next ??= this.#current.then(() => {
      this.#next = undefined;
      return (this.#current = this.#publish());
    });
    return this.#next;
  }

  async #publish(): Promise<void> {
    try {
      for (;;) {
        const { events, last } = this.#shop.waitingEvents(BATCH);
        if (events.length === 0) break;
        await this.#bus.publishAll(events, { signal: AbortSignal.timeout(LIMIT_MS), retryTimeoutMs: 0 });
        this.#shop.published(last);
      }
      this.#isBehind = false;
    } catch {
      // The rows are still there, and the next call tries again.
      this.#isBehind = true;
    }
  }
}
