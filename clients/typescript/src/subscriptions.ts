// The subscriptions of a bus: which of them are live, the position that each has reached, and which of them receive an
// event.
//
// The daemon sends an event once per connection, even if several subscriptions match it. This module evaluates the
// filters again to find these subscriptions. Subscribers with the same request share a subscription, since a connection
// has a limited number.
//
// The daemon sends one stream per channel and connection, and that stream cannot go back for one subscription.
// Nevertheless, the subscriptions to a channel can be at different positions. So each has its own position, and ignores
// events that it already has.
//
// A subscription lags if the stream has passed the events that it needs; the daemon then answers `invalid-position`. The
// client opens a new connection, and first sends a `BackfillSubscription` there. It is unfiltered and begins at the earliest
// position that a subscription to the channel needs. It ends when all subscriptions to the channel are live.

import { matches } from "./filter.js";
import { type ErrorCode, TidingsError } from "./errors.js";
import type { CloudEvent } from "./generated/events.js";
import type { ClientFrame, DaemonErrorCode, ServerFrame } from "./generated/protocol.js";
import type { JsonCodec } from "./json.js";
import { reaches } from "./position.js";
import {
  type BackfillSubscription,
  type Gap,
  compareRequests,
  isCoveredBy,
  receivesEvents,
  type SubscribeRequest,
  type Subscriber,
  type Subscription,
} from "./subscription.js";
import type { Timers } from "./timers.js";

export interface SubscriptionsOptions {
  readonly timers: Timers;
  readonly json: JsonCodec;
  readonly send: (frame: ClientFrame) => void;
  /** Opens a new connection, on which everything is requested again. */
  readonly restart: (reason: string, isWanted?: boolean) => void;
  readonly onGap: (gap: Gap) => void;
  /** `notified`: whether every subscriber that the error concerns has notified the application. */
  readonly onError: (error: TidingsError, notified: boolean) => void;
  /** Called when `settled` may have changed. */
  readonly onSettled: () => void;
  /** The delay, in milliseconds, before a subscription is requested again after a transient error. */
  readonly retryDelay: (failures: number) => number;
}

type Subscribed = Extract<ServerFrame, { type: "subscribed" }>;

/** The errors that delay a subscription, but do not refuse it. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set<DaemonErrorCode>(["broker-unavailable", "rate-limited"]);

/** All subscriptions of a bus. Sends no frame while there is no connection. */
export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #byKey = new Map<string, Subscription>();
  readonly #bySub = new Map<string, Subscription>();
  /** By channel: the last known position of its stream. */
  readonly #streamPositions = new Map<string, string>();
  /** The position of each delivered event that the application still holds. */
  readonly #eventPositions = new WeakMap<object, string>();
  /** By channel: the last gap on this connection. */
  readonly #gaps = new Map<string, Gap>();
  /** By channel: the backfill subscription of this connection. */
  readonly #backfills = new Map<string, BackfillSubscription>();
  /** False once the daemon has refused a backfill, for example because the connection has too many subscriptions. */
  #backfillAllowed = true;
  /** The number of the last `sub`. */
  #count = 0;

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  /** Whether the daemon has confirmed or refused every subscription. */
  get settled(): boolean {
    return [...this.#bySub.values()].every((subscription) => subscription.state === "live");
  }

  get isEmpty(): boolean {
    return this.#bySub.size === 0;
  }

  /** For each channel, the position up to which all of its subscriptions have everything. */
  get positions(): Map<string, string> {
    const positions = new Map(this.#streamPositions);
    for (const { channel, position } of this.#bySub.values()) {
      const [stream, earliest] = [this.#streamPositions.get(channel), positions.get(channel)];
      if (position === undefined || stream === undefined || earliest === undefined) continue;
      // A subscription that is still in the previous epoch is behind all others.
      const inPreviousEpoch = !reaches(stream, position) && !reaches(position, stream);
      if (inPreviousEpoch || reaches(earliest, position)) positions.set(channel, position);
    }
    return positions;
  }

  /** The position up to which a subscriber was given everything. `undefined` until the daemon has confirmed its subscription. */
  reached(subscriber: Subscriber): string | undefined {
    return [...this.#bySub.values()].find(({ subscribers }) => subscribers.has(subscriber))?.position;
  }

  /** The position of a delivered event. */
  positionOf(event: object): string | undefined {
    return this.#eventPositions.get(event);
  }

  /** Notes the position of an event that came another way. */
  remember(event: object, position: string): void {
    this.#eventPositions.set(event, position);
  }

  /** Adds a subscriber. Returns a function that removes it. */
  add({ channel, where, since }: SubscribeRequest, subscriber: Subscriber): () => void {
    const key = this.#options.json.stringify([channel, where, since]);
    let subscription = this.#byKey.get(key);
    // A subscription with `since` that has begun cannot be shared: the new subscriber would miss its earlier events.
    const hasBegun = since !== undefined && subscription?.position !== undefined;
    if (subscription === undefined || hasBegun) {
      const sub = `s${++this.#count}`;
      subscription = {
        key,
        sub,
        channel,
        where,
        since,
        subscribers: new Set(),
        position: undefined,
        state: "notRequested",
        backfilled: false,
        requestedFirst: false,
        lagging: false,
        failures: 0,
      };
      this.#byKey.set(key, subscription);
      this.#bySub.set(sub, subscription);
      this.#request(subscription);
    }
    const { subscribers } = subscription;
    subscribers.add(subscriber);
    return () => {
      if (subscribers.delete(subscriber) && subscribers.size === 0) this.#remove(subscription);
    };
  }

  /** A connection is open: requests every subscription again. */
  connectionOpened(): void {
    this.connectionLost();
    for (const channel of new Set([...this.#bySub.values()].map(({ channel }) => channel))) {
      const subscriptions = this.#ofChannel(channel).sort(compareRequests);
      const lagging = subscriptions.find(({ lagging }) => lagging);
      if (lagging && this.#backfillAllowed) this.#startBackfill(lagging, subscriptions);
      for (const subscription of subscriptions) this.#request(subscription);
    }
  }

  /** The connection is lost: no subscription is live. */
  connectionLost(): void {
    this.#gaps.clear();
    this.#backfills.clear();
    for (const subscription of this.#bySub.values()) {
      subscription.state = "notRequested";
      subscription.backfilled = false;
    }
  }

  /** Ends all subscriptions. Returns whether there were any, and all of them have notified the application. */
  end(error?: TidingsError): boolean {
    const notified = [...this.#bySub.values()].map((subscription) => this.#end(subscription, error));
    return notified.length > 0 && notified.every(Boolean);
  }

  /** Handles a frame of the daemon. */
  handle(frame: ServerFrame): void {
    switch (frame.type) {
      case "event":
        return this.#deliver(frame.event, frame.position);
      case "subscribed":
        return this.#subscribed(frame);
      case "heartbeat":
        for (const [channel, position] of Object.entries(frame.positions)) this.#advance(channel, position);
        return;
      case "gap":
        return this.#gap({ channel: frame.channel, from: frame.from, position: frame.position });
      case "error":
        return this.#error(frame.code, frame.message, frame.sub);
      default:
        return;
    }
  }

  /** Sends the `subscribe` frame for a subscription, from the position that it has reached. */
  #request(subscription: Subscription): void {
    const { sub, channel, where, position } = subscription;
    const backfill = this.#backfills.get(channel);
    // The backfill subscription delivers what it needs.
    const covered = backfill !== undefined && isCoveredBy(subscription, backfill);
    const since = covered ? undefined : (position ?? subscription.since);
    const isFirst = this.#ofChannel(channel).every(({ state }) => state === "notRequested");
    subscription.requestedFirst = isFirst && backfill === undefined;
    subscription.state = "requested";
    this.#options.send({ type: "subscribe", sub, channel, ...(where && { where }), ...(since !== undefined && { since }) });
  }

  /** Handles a `subscribed` frame: the stream begins after `position`. */
  #subscribed(frame: Subscribed): void {
    const { channel, sub, position, recovered } = frame;
    const backfill = this.#backfills.get(channel);
    if (backfill?.sub === sub) return this.#backfillSubscribed(backfill, frame);
    const subscription = this.#bySub.get(sub);
    if (subscription === undefined) return;
    this.#streamPositions.set(channel, position);
    if (!subscription.backfilled) {
      subscription.position = startPosition(subscription, subscription.since, position, recovered);
    }
    subscription.state = "live";
    subscription.lagging = false;
    subscription.failures = 0;
    this.#endUnneededBackfill(channel);
    this.#options.onSettled();
  }

  /** Sends a backfill subscription, before the subscriptions to its channel are requested. */
  #startBackfill(lagging: Subscription, subscriptions: readonly Subscription[]): void {
    const { channel } = lagging;
    const earlier = (a: string, b: string | undefined) => (b && reaches(a, b) ? b : a);
    const since = lagging.position
      ? subscriptions.reduce((earliest, { position }) => earlier(earliest, position), lagging.position)
      : lagging.since;
    // A subscription that begins with new events needs no backfill.
    if (since === undefined) return;
    const backfill = { sub: `a${++this.#count}`, since, lagging };
    this.#backfills.set(channel, backfill);
    this.#options.send({ type: "subscribe", sub: backfill.sub, channel, since });
  }

  /** The daemon has confirmed a backfill subscription: from here on, it delivers to the subscriptions that it covers. */
  #backfillSubscribed(backfill: BackfillSubscription, { channel, position, recovered }: Subscribed): void {
    const { since, lagging } = backfill;
    for (const subscription of this.#ofChannel(channel).filter((subscription) => isCoveredBy(subscription, backfill))) {
      const needed = subscription.position ?? since;
      if (needed !== since && recovered !== false && !reaches(needed, position)) {
        // The backfill begins after the position of this subscription, for example because that position is of an older
        // epoch. The subscription needs its own backfill.
        lagging.lagging = false;
        return this.#reconnectToBackfill(subscription, "a stream begins after the position of one of its subscriptions");
      }
      subscription.position = startPosition(subscription, since, position, needed === since ? recovered : true);
      subscription.backfilled = true;
    }
  }

  /** Ends the backfill subscription of a channel once all subscriptions to the channel are live. */
  #endUnneededBackfill(channel: string): void {
    const backfill = this.#backfills.get(channel);
    if (backfill === undefined || this.#ofChannel(channel).some(({ state }) => state !== "live")) return;
    this.#backfills.delete(channel);
    this.#options.send({ type: "unsubscribe", sub: backfill.sub });
  }

  /** Delivers an event to the subscriptions that have not received it and whose filter matches. */
  #deliver(event: CloudEvent, position: string): void {
    this.#eventPositions.set(event, position);
    // Advance first, so that `bus.positions` in a handler includes the event that the handler has received.
    const receivers = this.#advance(event.type, position);
    for (const { where, subscribers } of receivers) {
      if (!matches(where ?? {}, event.data)) continue;
      // A copy: a subscriber that a handler adds does not receive the current event.
      for (const subscriber of [...subscribers]) {
        if (subscribers.has(subscriber)) subscriber.deliver(event);
      }
    }
  }

  /** Handles a gap. Reports it once. */
  #gap(gap: Gap): void {
    const { channel, from, position } = gap;
    // The subscription may have been ahead of what is left of the log.
    for (const subscription of this.#ofChannel(channel)) {
      if (subscription.position === from && receivesEvents(subscription)) subscription.position = position;
    }
    this.#advance(channel, position);
    // The daemon sends the same gap for each subscription that it affects.
    const last = this.#gaps.get(channel);
    this.#gaps.set(channel, gap);
    if (last?.from !== from || last.position !== position) this.#options.onGap(gap);
  }

  /** Advances the subscriptions to a channel to `position`, which its stream has reached. Returns those that advanced. */
  #advance(channel: string, position: string): Subscription[] {
    this.#streamPositions.set(channel, position);
    const advanced: Subscription[] = [];
    for (const subscription of this.#bySub.values()) {
      if (subscription.channel !== channel || !receivesEvents(subscription)) continue;
      if (subscription.position !== undefined && reaches(subscription.position, position)) continue;
      subscription.position = position;
      advanced.push(subscription);
    }
    return advanced;
  }

  /** Handles an `error` frame. */
  #error(code: ErrorCode, message: string, sub: string | undefined): void {
    const error = new TidingsError(code, message);
    const backfill = [...this.#backfills.values()].find((backfill) => backfill.sub === sub);
    if (backfill) return this.#backfillFailed(backfill, error);
    const subscription = sub === undefined ? undefined : this.#bySub.get(sub);
    if (subscription === undefined) {
      // A subscription that was removed meanwhile interests nobody.
      if (sub === undefined) this.#options.onError(error, false);
      return;
    }
    // Another subscription to the channel has moved the stream past the position that this one needs.
    if (code === "invalid-position" && !subscription.requestedFirst) return this.#reconnectToBackfill(subscription, message);
    // Without the backfill subscription, this one may be within the limit.
    if (code === "too-many-subscriptions" && this.#backfills.size > 0) {
      this.#backfillAllowed = false;
      return this.#options.restart(message);
    }
    if (!TRANSIENT_CODES.has(code)) {
      this.#options.onError(error, this.#end(subscription, error));
      return this.#options.onSettled();
    }
    subscription.state = "notRequested";
    this.#reportDelay(subscription, error);
    this.#options.timers.start(() => {
      if (subscription.state === "notRequested" && this.#bySub.has(subscription.sub)) this.#request(subscription);
    }, this.#options.retryDelay(subscription.failures - 1));
  }

  /** The daemon refused or delayed a backfill subscription. The client requests its subscriptions on a new connection. */
  #backfillFailed({ lagging }: BackfillSubscription, error: TidingsError): void {
    if (error.code === "invalid-position" && lagging.position === undefined) {
      // The backfill began at the `since` of this subscription, which the daemon refuses.
      this.#options.onError(error, this.#end(lagging, error));
    } else if (TRANSIENT_CODES.has(error.code)) {
      this.#reportDelay(lagging, error);
    } else {
      // The next connection has no backfill. The daemon then confirms or refuses each subscription.
      this.#backfillAllowed = false;
    }
    this.#options.restart(error.message);
  }

  /** Counts a transient failure of a subscription, and reports the first in a row: the next ones say the same. */
  #reportDelay(subscription: Subscription, error: TidingsError): void {
    if (subscription.failures++ === 0) this.#options.onError(error, false);
  }

  /** Opens a new connection, on which a backfill delivers what this lagging subscription needs. */
  #reconnectToBackfill(subscription: Subscription, reason: string): void {
    subscription.lagging = true;
    this.#options.restart(reason, true);
  }

  /** Ends a subscription. Returns whether all subscribers have notified the application of the error. */
  #end(subscription: Subscription, error: TidingsError | undefined): boolean {
    this.#forget(subscription);
    const subscribers = [...subscription.subscribers];
    // Clear first: a subscriber that is removed in its `end` callback must not send an `unsubscribe` frame.
    subscription.subscribers.clear();
    return subscribers.map((subscriber) => subscriber.end(error)).every(Boolean);
  }

  /** Removes a subscription whose last subscriber has left. */
  #remove(subscription: Subscription): void {
    this.#forget(subscription);
    if (subscription.state !== "notRequested") this.#options.send({ type: "unsubscribe", sub: subscription.sub });
    this.#options.onSettled();
  }

  #forget(subscription: Subscription): void {
    if (this.#byKey.get(subscription.key) === subscription) this.#byKey.delete(subscription.key);
    this.#bySub.delete(subscription.sub);
    this.#endUnneededBackfill(subscription.channel);
  }

  #ofChannel(channel: string): Subscription[] {
    return [...this.#bySub.values()].filter((subscription) => subscription.channel === channel);
  }
}

/**
 * The position of a subscription whose stream begins after `position`. Without a position of its own, it begins at `since`.
 *
 * After a loss it stays where it is until the `gap` frame, which follows: if the connection ends between the two, the next one must
 * report the gap.
 */
function startPosition(
  { position: own }: Subscription,
  since: string | undefined,
  position: string,
  recovered: boolean | undefined,
): string | undefined {
  if (recovered === false) return own;
  const needed = own ?? since;
  // Another subscription can make the stream begin earlier than this one needs. This one then keeps its position.
  return needed !== undefined && reaches(needed, position) ? needed : position;
}
