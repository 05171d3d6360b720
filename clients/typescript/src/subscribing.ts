// How the application subscribes: from now on, from a position, from what was stored, or with the newest events first.

import { onAbort } from "./aborting.js";
import type { Consumer } from "./consumers.js";
import { TidingsError } from "./errors.js";
import type { AnyWhere } from "./filter.js";
import type { LatestHost } from "./latest/types.js";
import { checkWhere } from "./outgoing.js";
import type { PersistedBus } from "./persistence.js";
import type { SubscribeRequest } from "./subscription.js";

/** What the application asks for. */
export interface SubscribeCall {
  readonly where?: object | undefined;
  readonly since?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Only the events of this subject, the newest one first. */
  readonly subject?: string | undefined;
}

export interface SubscribingOptions {
  readonly host: LatestHost;
  readonly persisted: PersistedBus | undefined;
  /** A subscription needs the connection. */
  readonly onSubscribed: () => void;
  /** Called when `isLoading` may have changed. */
  readonly onLoaded: () => void;
}

export class Subscribing {
  readonly #options: SubscribingOptions;
  /** The number of subscriptions whose newest events are not there yet. */
  #beginning = 0;

  constructor(options: SubscribingOptions) {
    this.#options = options;
  }

  /** Whether subscriptions wait for what they begin with. */
  get isLoading(): boolean {
    return this.#beginning > 0 || this.#options.persisted?.isLoading === true;
  }

  /** Subscribes a handler or a loop. Returns a function that ends the subscription. */
  subscribe(channel: string, { where, since, signal, subject }: SubscribeCall, consumer: Consumer): () => void {
    checkWhere(where);
    const { host, persisted, onSubscribed } = this.#options;
    const request = { channel, where: where as AnyWhere | undefined, since };
    // The application keeps the position of a subscription with `since`.
    const stored = since === undefined ? persisted : undefined;
    let remove: () => void;
    if (since === "latest") remove = this.#atLatest(request, subject, consumer);
    else remove = stored ? stored.subscribe(request, consumer) : host.subscriptions.add(request, consumer);
    let forget = () => {};
    const stop = () => {
      forget();
      remove();
    };
    // A signal may live longer than the bus: nothing of the subscription stays on it.
    const { end } = consumer;
    consumer.end = (error) => (forget(), end(error));
    forget = onAbort(signal, () => {
      stop();
      consumer.abort?.(signal?.reason);
    });
    if (signal?.aborted !== true) onSubscribed();
    return stop;
  }

  #atLatest(request: SubscribeRequest, subject: string | undefined, consumer: Consumer): () => void {
    const { host, onLoaded } = this.#options;
    let stop = () => {};
    let isEnded = false;
    this.#beginning++;
    const begin = async () => {
      try {
        const { beginAtLatest } = await import("./latest/index.js");
        if (isEnded) return;
        const beginning = beginAtLatest(host, request, subject, consumer);
        stop = beginning.stop;
        await beginning.begun;
      } catch (cause) {
        // The code could not be loaded.
        const error = new TidingsError("network", String(cause), { cause });
        host.reports.error(error, consumer.end(error));
      } finally {
        this.#beginning--;
        onLoaded();
      }
    };
    void begin();
    return () => {
      isEnded = true;
      stop();
    };
  }
}
