// What the bus listens to: which subscriptions there are, which of them stand, up to where each has its events, and who
// gets an event.
//
// The daemon sends an event once, however many subscriptions of the connection it fits; so whom it is for is found here,
// by the same filter. Listeners that want the same share a subscription, of which a connection has only so many.
//
// All subscriptions to a channel are one stream, which cannot go back for a single one of them. So one that needs what the
// stream has passed is asked for first on a new connection; the others hear that part twice, and it is dropped here.

import { type AnyWhere, matches } from "./filter.js";
import { TidingsError } from "./errors.js";
import type { ClientFrame, ServerFrame } from "./frames.js";
import type { CloudEvent } from "./generated/events.js";
import { reaches } from "./position.js";

/** Who wants the events of a subscription. */
export interface Subscriber {
  deliver(event: CloudEvent): void;
  /**
   * There will be no more: the bus was closed or, with an error, the daemon refused. Answers whether the error has been
   * told to someone.
   */
  end(error?: TidingsError): boolean;
}

/**
 * Events that cannot be delivered, since the daemon's log no longer has them: after `from`, up to and including
 * `position`. A filter might have let none of them through.
 */
export interface Gap<Channel extends string = string> {
  readonly channel: Channel;
  readonly from: string;
  readonly position: string;
}

export interface Wanted {
  readonly channel: string;
  readonly where: AnyWhere | undefined;
  /** From where; from now on, where there is none. */
  readonly since: string | undefined;
}

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

interface Subscription extends Wanted {
  readonly key: string;
  readonly sub: string;
  readonly subscribers: Set<Subscriber>;
  /** Up to here its subscribers have everything; from here it goes on. Known once it has stood. */
  position: string | undefined;
  /** Whether the daemon, on this connection, was asked and has agreed. */
  state: "new" | "asked" | "standing";
  /** The `since` with which it was asked for. */
  asked: string | undefined;
  /** Whether it was the first of its channel that was asked for on this connection. */
  first: boolean;
  /** Whether the channel's stream was past what it needs when it was asked for. */
  behind: boolean;
  /** How often in a row the daemon could not say. */
  failures: number;
}

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
      const unasked = { position: undefined, state: "new", asked: undefined, first: false, behind: false, failures: 0 } as const;
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
      const subscriptions = this.#of(channel).sort(inTurn);
      // With a `since` each, they may again be too slow for one another. Without, they join the first.
      const together = subscriptions.some(({ behind }) => behind);
      for (const [index, subscription] of subscriptions.entries()) this.#ask(subscription, together && index > 0);
    }
  }

  /** The connection is gone, and what stood on it. */
  lost(): void {
    this.#gaps.clear();
    for (const subscription of this.#bySub.values()) subscription.state = "new";
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
        return this.#stands(this.#bySub.get(frame.sub), frame.position, frame.recovered);
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

  #ask(subscription: Subscription, join = false): void {
    const { sub, channel, where, position } = subscription;
    const since = position === undefined ? subscription.since : join ? undefined : position;
    subscription.asked = since;
    subscription.first = !this.#of(channel).some(({ state }) => state !== "new");
    subscription.state = "asked";
    this.#options.send({ type: "subscribe", sub, channel, ...(where && { where }), ...(since !== undefined && { since }) });
  }

  #stands(subscription: Subscription | undefined, position: string, recovered: boolean | undefined): void {
    if (subscription === undefined) return;
    const { channel, since, asked } = subscription;
    if (asked === undefined && subscription.position !== undefined && !reaches(subscription.position, position)) {
      return this.#late(subscription, "a channel's stream was past what one of its subscriptions needs");
    }
    // The stream may begin earlier than this one needs, for another one's sake.
    const had = recovered === false ? undefined : (subscription.position ?? since);
    subscription.position = had !== undefined && reaches(had, position) ? had : position;
    subscription.state = "standing";
    subscription.behind = false;
    subscription.failures = 0;
    this.#streams.set(channel, position);
    this.#options.onSettled();
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
      if (subscription.channel !== channel || subscription.state !== "standing") continue;
      if (subscription.position !== undefined && reaches(subscription.position, position)) continue;
      subscription.position = position;
      moved.push(subscription);
    }
    return moved;
  }

  #error(code: string, message: string, sub: string | undefined): void {
    const error = new TidingsError(code, message);
    const subscription = sub === undefined ? undefined : this.#bySub.get(sub);
    if (subscription === undefined) return this.#options.onError(error, false);
    if (code === "invalid-position" && !subscription.first) return this.#late(subscription, message);
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
  }

  #of(channel: string): Subscription[] {
    return [...this.#bySub.values()].filter((subscription) => subscription.channel === channel);
  }
}

/**
 * The order in which a channel's subscriptions are asked for on a new connection: who needs more of the past goes first.
 * But those that are to begin now come before those that begin in the past for the first time, whose past they would hear.
 */
function inTurn(a: Subscription, b: Subscription): number {
  if (a.position === undefined || b.position === undefined) return turn(a) - turn(b);
  return Number(reaches(a.position, b.position)) - Number(reaches(b.position, a.position));
}

function turn({ behind, position, since }: Subscription): number {
  if (position !== undefined) return 1;
  if (behind) return 0;
  return since === undefined ? 2 : 3;
}
