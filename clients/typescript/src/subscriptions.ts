// What the bus listens to: which subscriptions there are, which of them stand, and who gets an event.
//
// The daemon sends an event once, however many subscriptions of the connection it fits; so whom it is for is found here,
// by the same filter. Listeners that want the same share a subscription, of which a connection has only so many.

import { type AnyWhere, matches } from "./filter.js";
import { TidingsError } from "./errors.js";
import type { ClientFrame, ServerFrame } from "./frames.js";
import type { CloudEvent } from "./generated/events.js";

/** Who wants the events of a subscription. */
export interface Subscriber {
  deliver(event: CloudEvent): void;
  /**
   * There will be no more: the bus was closed or, with an error, the daemon refused. Answers whether the error has been
   * told to someone.
   */
  end(error?: TidingsError): boolean;
}

/** Events that are gone, or may be: after `from`, up to and including `position`. */
export interface Gap {
  readonly channel: string;
  readonly from: string;
  readonly position: string;
}

export interface SubscriptionsOptions {
  readonly send: (frame: ClientFrame) => void;
  readonly onGap: (gap: Gap) => void;
  /** `told`: whether all those whom it concerns know already. */
  readonly onError: (error: TidingsError, told: boolean) => void;
  /** Something was answered. */
  readonly onSettled: () => void;
  /** How long to wait until a subscription is asked for again that so many times could not be answered yet. */
  readonly retryDelay: (failures: number) => number;
}

interface Subscription {
  readonly key: string;
  readonly sub: string;
  readonly channel: string;
  readonly where: AnyWhere | undefined;
  readonly subscribers: Set<Subscriber>;
  /** Whether the daemon, on this connection, was asked and has agreed. */
  state: "new" | "asked" | "standing";
  /** Whether it stood on an earlier connection. */
  stoodBefore: boolean;
  /** How often in a row the daemon could not say. */
  failures: number;
}

/** Errors that say "not now" of a subscription, and not "never". */
const PASSING: ReadonlySet<string> = new Set(["broker-unavailable", "rate-limited"]);

export class Subscriptions {
  /** The last position that is known of each channel. */
  readonly positions: Map<string, string> = new Map();
  readonly #options: SubscriptionsOptions;
  readonly #byKey = new Map<string, Subscription>();
  readonly #bySub = new Map<string, Subscription>();
  #count = 0;

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  /** Whether the daemon has answered for all of them. */
  get settled(): boolean {
    return [...this.#bySub.values()].every((subscription) => subscription.state === "standing");
  }

  /** Adds a subscriber; the answer takes it away again. */
  add(channel: string, where: AnyWhere | undefined, subscriber: Subscriber): () => void {
    const key = JSON.stringify([channel, where]);
    let subscription = this.#byKey.get(key);
    if (subscription === undefined) {
      const sub = `s${++this.#count}`;
      subscription = { key, sub, channel, where, subscribers: new Set(), state: "new", stoodBefore: false, failures: 0 };
      this.#byKey.set(key, subscription);
      this.#bySub.set(sub, subscription);
      this.#ask(subscription);
    }
    const { subscribers } = subscription;
    subscribers.add(subscriber);
    return () => {
      if (subscribers.delete(subscriber) && subscribers.size === 0) this.#remove(subscription);
    };
  }

  /** A connection is open: everything is asked for again. */
  opened(): void {
    for (const subscription of this.#bySub.values()) this.#ask(subscription);
  }

  /** The connection is gone, and what stood on it. */
  lost(): void {
    for (const subscription of this.#bySub.values()) {
      subscription.stoodBefore ||= subscription.state === "standing";
      subscription.state = "new";
    }
  }

  /** It is over. Answers whether there are subscribers, and all have told someone. */
  end(error?: TidingsError): boolean {
    const told = [...this.#bySub.values()].map((subscription) => this.#end(subscription, error));
    return told.length > 0 && told.every(Boolean);
  }

  handle(frame: ServerFrame): void {
    switch (frame.type) {
      case "event":
        return this.#deliver(frame.event, frame.position);
      case "subscribed":
        return this.#stands(this.#bySub.get(frame.sub), frame.position);
      case "heartbeat":
        for (const [channel, position] of Object.entries(frame.positions)) this.positions.set(channel, position);
        return;
      case "gap":
        this.positions.set(frame.channel, frame.position);
        return this.#options.onGap({ channel: frame.channel, from: frame.from, position: frame.position });
      case "error":
        return this.#error(frame.code, frame.message, frame.sub);
      default:
        return;
    }
  }

  #ask(subscription: Subscription): void {
    const { sub, channel, where } = subscription;
    subscription.state = "asked";
    this.#options.send({ type: "subscribe", sub, channel, ...(where && { where }) });
  }

  #stands(subscription: Subscription | undefined, position: string): void {
    if (subscription === undefined) return;
    const { channel, stoodBefore } = subscription;
    const from = this.positions.get(channel);
    subscription.state = "standing";
    subscription.failures = 0;
    this.positions.set(channel, position);
    // Without a replay, what came while there was no connection was not seen: say so.
    if (stoodBefore && from !== undefined && from !== position) this.#options.onGap({ channel, from, position });
    this.#options.onSettled();
  }

  #deliver(event: CloudEvent, position: string): void {
    this.positions.set(event.type, position);
    for (const { channel, where, subscribers, state } of this.#bySub.values()) {
      if (state !== "standing" || channel !== event.type || !matches(where ?? {}, event.data)) continue;
      // A copy: who joins meanwhile wants what comes from now on.
      for (const subscriber of [...subscribers]) {
        if (subscribers.has(subscriber)) subscriber.deliver(event);
      }
    }
  }

  #error(code: string, message: string, sub: string | undefined): void {
    const error = new TidingsError(code, message);
    const subscription = sub === undefined ? undefined : this.#bySub.get(sub);
    if (subscription === undefined) return this.#options.onError(error, false);
    if (!PASSING.has(code)) {
      this.#options.onError(error, this.#end(subscription, error));
      return this.#options.onSettled();
    }
    subscription.state = "new";
    this.#options.onError(error, false);
    setTimeout(() => {
      if (subscription.state === "new" && this.#bySub.has(subscription.sub)) this.#ask(subscription);
    }, this.#options.retryDelay(subscription.failures++));
  }

  #end(subscription: Subscription, error: TidingsError | undefined): boolean {
    this.#forget(subscription);
    const subscribers = [...subscription.subscribers];
    // First, so that one who now leaves finds that there is nothing to be unsubscribed.
    subscription.subscribers.clear();
    return subscribers.map((subscriber) => subscriber.end(error)).every(Boolean);
  }

  #remove(subscription: Subscription): void {
    this.#forget(subscription);
    if (subscription.state !== "new") this.#options.send({ type: "unsubscribe", sub: subscription.sub });
    this.#options.onSettled();
  }

  #forget(subscription: Subscription): void {
    this.#byKey.delete(subscription.key);
    this.#bySub.delete(subscription.sub);
  }
}
