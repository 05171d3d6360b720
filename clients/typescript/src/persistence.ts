// The seam between a bus and what keeps its state across reloads of a page (`tidings-client/persist`).
//
// Types only: a page that persists nothing loads nothing of it.

import type { TidingsError } from "./errors.js";
import type { CloudEvent } from "./generated/events.js";
import type { ServerFrame } from "./generated/protocol.js";
import type { Gap, SubscribeRequest, Subscriber } from "./subscription.js";

/**
 * Keeps the newest events and the positions of subscriptions in the browser, so that a reloaded page shows the values that it had
 * and resumes where it was. `localStoragePersistence` and `indexedDbPersistence` of `tidings-client/persist` make one.
 */
export interface Persistence {
  /** Whether a handler or a loop was given this event from the storage, and not because it was just published. */
  isRestored(event: object): boolean;
  /**
   * Removes everything that is stored under the name of this persistence: when the user signs out, after `bus.close()`. A bus that
   * is still open, here or in another tab, forgets its values, too, and goes on with new ones. A hash of the name and the time stay in
   * the storage: they tell the other tabs.
   */
  clear(): Promise<void>;
  /** @internal Begins to keep the state of a bus. */
  attach(host: PersistHost): PersistedBus;
}

/** What a persistence needs of a bus. */
export interface PersistHost {
  /** The address of the daemon, without a user name and password. */
  readonly url: string;
  /** Subscribes as without persistence. Returns a function that ends the subscription. */
  subscribe(request: SubscribeRequest, subscriber: Subscriber): () => void;
  /** The position up to which this subscriber was given everything. `undefined` until the daemon has confirmed it. */
  reached(subscriber: Subscriber): string | undefined;
  /** The position of an event that was delivered on this bus. */
  positionOf(event: object): string | undefined;
  /** The storage was read. */
  onLoaded(): void;
  onError(error: TidingsError): void;
  onGap(gap: Gap): void;
}

/** The persisted subscriptions of one bus. */
export interface PersistedBus {
  /** Whether subscriptions wait for the storage. */
  readonly isLoading: boolean;
  /** Subscribes from the stored position on, and gives the subscriber the stored events first. */
  subscribe(request: SubscribeRequest, subscriber: Subscriber): () => void;
  /** The loop over a subscriber's events. An event counts as processed when the loop asks for the next one. */
  follow<Event extends CloudEvent>(subscriber: Subscriber, loop: AsyncIterableIterator<Event>): AsyncIterableIterator<Event>;
  /** The position of a restored event. */
  positionOf(event: object): string | undefined;
  /** The bus is about to handle a frame. */
  receiving(frame: ServerFrame): void;
  /** The bus has handled it. */
  received(): void;
  /** The bus is closed. Called before its subscriptions end. */
  close(error?: TidingsError): void;
}
