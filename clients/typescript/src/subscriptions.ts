// What the bus listens to: which subscriptions there are, which of them stand, up to where each has its events, and who
// gets an event.
//
// The daemon sends an event once, however many subscriptions of the connection it fits; so whom it is for is found here,
// by the same filter. Listeners that want the same share a subscription, of which a connection has only so many.
//
// All subscriptions to a channel are one stream, which cannot go back for a single one of them. Where one needs what the
// stream has passed, there is a new connection, on which all begin together at the earliest place that any of them needs.
// What some hear twice then is dropped here.

import { matches } from "./filter.js";
import { TidingsError } from "./errors.js";
import type { ClientFrame, ServerFrame } from "./frames.js";
import type { CloudEvent } from "./generated/events.js";
import { reaches } from "./position.js";
import { type Anchor, type Gap, isFed, isHeld, type Subscriber, type Subscription, turn, type Wanted } from "./subscription.js";

export interface SubscriptionsOptions {
  readonly send: (frame: ClientFrame) => void;
  /** Makes another connection, on which everything is asked for again. */
  readonly restart: (reason: string) => void;
  readonly onGap: (gap: Gap) => void;
  /** `told`: whether all those whom it concerns know already. */
  readonly onError: (error: TidingsError, told: boolean) => void;
  /** Something was answered. */
  readonly onSettled: () => void;
  /** How long to wait until a subscription is asked for again that so many times could not be answered yet. */
  readonly retryDelay: (failures: number) => number;
}

type Subscribed = Extract<ServerFrame, { type: "subscribed" }>;

/** Errors that say "not now" of a subscription, and not "never". */
const PASSING: ReadonlySet<string> = new Set(["broker-unavailable", "rate-limited"]);

export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #byKey = new Map<string, Subscription>();
  readonly #bySub = new Map<string, Subscription>();
  /** Where the stream of each channel stands, or stood. */
  readonly #streams = new Map<string, string>();
  readonly #positions = new WeakMap<object, string>();
  /** The last gap in each channel on this connection. */
  readonly #gaps = new Map<string, Gap>();
  /** By channel. */
  readonly #anchors = new Map<string, Anchor>();
  /** No more, where the daemon would not have them: a connection may have no place for one more. */
  #anchoring = true;
  #count = 0;

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  /** Whether the daemon has answered for all of them. */
  get settled(): boolean {
    return [...this.#bySub.values()].every((subscription) => subscription.state === "standing");
  }

  /** For each channel, up to where all of its subscriptions have everything. */
  get positions(): Map<string, string> {
    const positions = new Map(this.#streams);
    for (const { channel, position } of this.#bySub.values()) {
      const [stream, oldest] = [this.#streams.get(channel), positions.get(channel)];
      if (position === undefined || stream === undefined || oldest === undefined) continue;
      // One that could not follow the stream into a new epoch is older than all that have.
      const left = !reaches(stream, position) && !reaches(position, stream);
      if (left || reaches(oldest, position)) positions.set(channel, position);
    }
    return positions;
  }

  /** Where an event that was delivered stands. */
  positionOf(event: object): string | undefined {
    return this.#positions.get(event);
  }

  /** Adds a subscriber; the answer takes it away again. */
  add({ channel, where, since }: Wanted, subscriber: Subscriber): () => void {
    const key = JSON.stringify([channel, where, since]);
    let subscription = this.#byKey.get(key);
    // With one that has begun in the past, a part of that would be missed.
    const begun = since !== undefined && subscription?.position !== undefined;
    if (subscription === undefined || begun) {
      const sub = `s${++this.#count}`;
      const unasked = { position: undefined, state: "new", carried: false, first: false, behind: false, failures: 0 } as const;
      subscription = { key, sub, channel, where, since, subscribers: new Set(), ...unasked };
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
    this.lost();
    for (const channel of new Set([...this.#bySub.values()].map(({ channel }) => channel))) {
      const subscriptions = this.#of(channel).sort((a, b) => turn(a) - turn(b));
      const late = subscriptions.find(({ behind }) => behind);
      if (late && this.#anchoring) this.#cast(late, subscriptions);
      for (const subscription of subscriptions) this.#ask(subscription);
    }
  }

  /** The connection is gone, and what stood on it. */
  lost(): void {
    this.#gaps.clear();
    this.#anchors.clear();
    for (const subscription of this.#bySub.values()) {
      subscription.state = "new";
      subscription.carried = false;
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

  #ask(subscription: Subscription): void {
    const { sub, channel, where, position } = subscription;
    const anchor = this.#anchors.get(channel);
    const since = anchor && isHeld(subscription, anchor) ? undefined : (position ?? subscription.since);
    subscription.first = anchor === undefined && !this.#of(channel).some(({ state }) => state !== "new");
    subscription.state = "asked";
    this.#options.send({ type: "subscribe", sub, channel, ...(where && { where }), ...(since !== undefined && { since }) });
  }

  #subscribed(frame: Subscribed): void {
    const { channel, sub, position, recovered } = frame;
    const anchor = this.#anchors.get(channel);
    if (anchor?.sub === sub) return this.#holds(anchor, frame);
    const subscription = this.#bySub.get(sub);
    if (subscription === undefined) return;
    this.#streams.set(channel, position);
    if (!subscription.carried) {
      subscription.position = begin(subscription.position ?? subscription.since, position, recovered);
    }
    subscription.state = "standing";
    subscription.behind = false;
    subscription.failures = 0;
    this.#weigh(channel);
    this.#options.onSettled();
  }

  /** Sends an anchor ahead of the subscriptions to a channel. */
  #cast(late: Subscription, subscriptions: readonly Subscription[]): void {
    const { channel } = late;
    const since = late.position
      ? subscriptions.reduce((oldest, { position }) => (position && reaches(oldest, position) ? position : oldest), late.position)
      : late.since;
    // Who begins now is late for nothing.
    if (since === undefined) return;
    const anchor = { sub: `a${++this.#count}`, since, late };
    this.#anchors.set(channel, anchor);
    this.#options.send({ type: "subscribe", sub: anchor.sub, channel, since });
  }

  /** An anchor stands: from here on, those that are to go on have their events. */
  #holds(anchor: Anchor, { channel, position, recovered }: Subscribed): void {
    const { since, late } = anchor;
    for (const subscription of this.#of(channel).filter((subscription) => isHeld(subscription, anchor))) {
      const had = subscription.position ?? since;
      if (had !== since && recovered !== false && !reaches(had, position)) {
        // It is of an older epoch, perhaps, and needs an anchor of its own.
        late.behind = false;
        return this.#late(subscription, "a channel's stream begins after what one of its subscriptions needs");
      }
      subscription.position = begin(had, position, had === since ? recovered : true);
      subscription.carried = true;
    }
  }

  /** Lets the anchor of a channel go, once nobody needs it. */
  #weigh(channel: string): void {
    const anchor = this.#anchors.get(channel);
    if (anchor === undefined || this.#of(channel).some(({ state }) => state !== "standing")) return;
    this.#anchors.delete(channel);
    this.#options.send({ type: "unsubscribe", sub: anchor.sub });
  }

  #deliver(event: CloudEvent, position: string): void {
    this.#positions.set(event, position);
    // First, so that a handler that asks where the channel stands hears of the event that it has.
    const due = this.#advance(event.type, position);
    for (const { where, subscribers } of due) {
      if (!matches(where ?? {}, event.data)) continue;
      // A copy: who joins meanwhile wants what comes from now on.
      for (const subscriber of [...subscribers]) {
        if (subscribers.has(subscriber)) subscriber.deliver(event);
      }
    }
  }

  #gap(gap: Gap): void {
    const { channel, from, position } = gap;
    this.#advance(channel, position);
    // It is said for each subscription that asks for what is gone.
    const last = this.#gaps.get(channel);
    this.#gaps.set(channel, gap);
    if (last?.from !== from || last.position !== position) this.#options.onGap(gap);
  }

  /** The stream of a channel has come to `position`, and with it those that are answered: who follows it and was behind. */
  #advance(channel: string, position: string): Subscription[] {
    this.#streams.set(channel, position);
    const moved: Subscription[] = [];
    for (const subscription of this.#bySub.values()) {
      if (subscription.channel !== channel || !isFed(subscription)) continue;
      if (subscription.position !== undefined && reaches(subscription.position, position)) continue;
      subscription.position = position;
      moved.push(subscription);
    }
    return moved;
  }

  #error(code: string, message: string, sub: string | undefined): void {
    const error = new TidingsError(code, message);
    const anchor = [...this.#anchors.values()].find((anchor) => anchor.sub === sub);
    if (anchor) return this.#drags(anchor, error);
    const subscription = sub === undefined ? undefined : this.#bySub.get(sub);
    if (subscription === undefined) return this.#options.onError(error, false);
    if (code === "invalid-position" && !subscription.first) return this.#late(subscription, message);
    if (code === "too-many-subscriptions" && this.#anchors.size > 0) {
      this.#anchoring = false;
      return this.#options.restart(message);
    }
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

  /** An anchor was refused, and those that rely on it begin again: in the end without, and each is told its own. */
  #drags({ late }: Anchor, error: TidingsError): void {
    if (error.code === "invalid-position" && late.position === undefined) {
      this.#options.onError(error, this.#end(late, error));
    } else if (PASSING.has(error.code)) {
      this.#options.onError(error, false);
    } else {
      this.#anchoring = false;
    }
    this.#options.restart(error.message);
  }

  /** Another subscription to the channel was faster. */
  #late(subscription: Subscription, reason: string): void {
    subscription.behind = true;
    this.#options.restart(reason);
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
    if (this.#byKey.get(subscription.key) === subscription) this.#byKey.delete(subscription.key);
    this.#bySub.delete(subscription.sub);
    this.#weigh(subscription.channel);
  }

  #of(channel: string): Subscription[] {
    return [...this.#bySub.values()].filter((subscription) => subscription.channel === channel);
  }
}

/** Where one stands who had everything up to `had`, or wants what is after it, and whose stream begins at `position`. */
function begin(had: string | undefined, position: string, recovered: boolean | undefined): string {
  // The stream may begin earlier than this one needs, for another one's sake.
  return recovered !== false && had !== undefined && reaches(had, position) ? had : position;
}
