// A persisted subscription: what its subscribers were given, and how far they are with it.
//
// All subscribers with the same channel and filter share it, and so one subscription of the bus. One that comes later is given the
// newest event of each subject first, as after a reload. When the last one leaves, the entry keeps its position and its values: who
// subscribes again, in this page or in the next one, goes on there.

import type { TidingsError } from "../errors.js";
import type { CloudEvent } from "../generated/events.js";
import type { PersistHost } from "../persistence.js";
import { before, reaches } from "../position.js";
import type { SubscribeRequest, Subscriber } from "../subscription.js";
import { Progress } from "./progress.js";
import { type StoredRecord, Value } from "./record.js";

/** What an entry needs of its bus. */
export interface EntryHost extends PersistHost {
  /** How many subjects an entry keeps. */
  readonly maxEvents: number;
  /** Whether a frame is being handled: some subscribers may not have its event yet. */
  readonly isReceiving: boolean;
  /** Notes that this object is a restored event. */
  restored(event: object, position: string): void;
  /** The daemon refuses what is stored: it must not be shown again. */
  refused(entry: Entry): void;
}

/** A subscriber of an entry. */
class Member {
  readonly #subscriber: Subscriber;
  readonly progress: Progress;
  /** For a loop: the events that it has not processed, and what says that it has. Its buffer bounds them. */
  #underWay: Map<object, () => void> | undefined;

  constructor(subscriber: Subscriber, position: string | undefined) {
    this.#subscriber = subscriber;
    this.progress = new Progress(position);
  }

  deliver(event: CloudEvent): void {
    const finish = this.progress.begin();
    const result = this.#subscriber.deliver(event);
    if (this.#underWay) this.#underWay.set(event, finish);
    else if (result instanceof Promise) void result.then(finish, finish);
    else finish();
  }

  restore(events: readonly CloudEvent[]): void {
    if (this.#subscriber.restore) this.#subscriber.restore(events);
    else for (const event of events) this.#subscriber.deliver(event);
  }

  /** The subscriber is a loop. Returns a function that says that it has processed an event. */
  follow(): (event: object) => void {
    const underWay = (this.#underWay ??= new Map<object, () => void>());
    return (event) => {
      underWay.get(event)?.();
      underWay.delete(event);
    };
  }
}

export class Entry implements Subscriber {
  readonly key: string;
  readonly channel: string;
  /** Everything up to here was given to every subscriber, and they have finished with it. `undefined` until that is known. */
  position: string | undefined;
  /** Whether it differs from what was last written. */
  isChanged = false;
  /** The position that it had before a gap. A record with it is not newer, although the log may have begun again at a lower one. */
  beforeGap: string | undefined;
  /** The length of its text in the storage. */
  size = 0;
  readonly #host: EntryHost;
  readonly #request: SubscribeRequest;
  readonly #values = new Map<string, Value>();
  readonly #members = new Map<Subscriber, Member>();
  #unsubscribe: (() => void) | undefined;
  /** A position that the daemon does not accept, until the subscription that begins now instead is live. */
  #refused: string | undefined;

  constructor(key: string, request: SubscribeRequest, host: EntryHost, stored: StoredRecord | undefined) {
    this.key = key;
    this.channel = request.channel;
    this.#request = request;
    this.#host = host;
    this.position = stored?.position;
    for (const value of stored?.values ?? []) this.#keep(value);
    this.isChanged = false;
  }

  get isActive(): boolean {
    return this.#members.size > 0;
  }

  get values(): Value[] {
    return [...this.#values.values()];
  }

  /** Adds a subscriber. It is given the values after the code that runs now, and before any other event. */
  join(subscriber: Subscriber): void {
    const member = new Member(subscriber, this.position);
    this.#members.set(subscriber, member);
    // What is beyond where the subscription is, the daemon sends again: older values must not follow newer ones.
    const from = (this.#unsubscribe && this.#host.reached(this)) ?? this.position;
    const known = from === undefined ? this.values : this.values.filter(({ position }) => reaches(from, position));
    const events = known.map(({ position, text }) => {
      // A copy: handlers of the page may have changed the event that they were given.
      const [, event] = JSON.parse(text) as [string, CloudEvent];
      this.#host.restored(event, position);
      return event;
    });
    // Later, since the caller does not have its function to unsubscribe yet. No frame is handled before.
    if (events.length > 0) queueMicrotask(() => this.#members.get(subscriber) === member && member.restore(events));
    this.#unsubscribe ??= this.#host.subscribe({ ...this.#request, since: this.position }, this);
  }

  leave(subscriber: Subscriber): void {
    if (!this.#members.has(subscriber)) return;
    if (!this.#host.isReceiving) this.advance();
    this.#members.delete(subscriber);
    if (this.isActive) return;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  follow(subscriber: Subscriber): ((event: object) => void) | undefined {
    return this.#members.get(subscriber)?.follow();
  }

  /** Updates `position`. Not while the bus handles a frame: some subscribers would not have its event yet. */
  advance(): void {
    const reached = this.#host.reached(this);
    const positions = [...this.#members.values()].map(({ progress }) => progress.advance(reached));
    const lowest = positions.reduce((low, position) => (low && position ? lower(low, position) : undefined));
    if (lowest === undefined || lowest === this.position) return;
    this.position = lowest;
    this.isChanged = true;
  }

  /** Events after `from` and up to `position` are lost: values from before may be old ones. */
  lost({ from, position }: { readonly from: string; readonly position: string }): void {
    const reached = this.#host.reached(this) ?? this.position;
    // Another subscription has lost them, and this one is beyond.
    if (reached !== undefined && reached !== from && reaches(reached, position)) return;
    this.beforeGap = from;
    this.forget();
  }

  /** Drops the values that were received up to this time; without one, all. */
  forget(until: number = Infinity): void {
    for (const [subject, { at }] of this.#values) if (at <= until) this.#values.delete(subject);
    this.isChanged = true;
  }

  /** The bus has handled a frame. Reports what is missing after a position that was refused, before any event that follows. */
  received(): void {
    const from = this.#refused;
    const position = from === undefined ? undefined : this.#host.reached(this);
    if (from === undefined || position === undefined) return;
    this.#refused = undefined;
    this.#host.onGap({ channel: this.channel, from, position, reason: "the stored position was refused: what came since is unknown" });
  }

  deliver(event: CloudEvent): void {
    const position = this.#host.positionOf(event);
    if (position !== undefined && this.position === undefined) this.#start(before(position));
    if (position !== undefined && event.subject !== undefined) this.#keep(new Value(position, event, Date.now()));
    // A copy: a subscriber that a handler adds does not receive the current event, which is among its values.
    for (const [subscriber, member] of [...this.#members]) {
      if (this.#members.get(subscriber) === member) member.deliver(event);
    }
  }

  end(error?: TidingsError): boolean {
    this.#unsubscribe = undefined;
    if (error?.code === "invalid-position" && this.position !== undefined) {
      // The stored position is damaged, or of another version of the daemon. What is stored with it may be old.
      this.#host.refused(this);
      this.#refused = this.position;
      this.position = undefined;
      this.forget();
      this.#unsubscribe = this.#host.subscribe({ ...this.#request, since: undefined }, this);
      return false;
    }
    if (error?.code === "forbidden") {
      this.#host.refused(this);
      this.position = undefined;
      this.forget();
    }
    const subscribers = [...this.#members.keys()];
    this.#members.clear();
    return subscribers.map((subscriber) => subscriber.end(error)).every(Boolean);
  }

  /** The first event comes after this position: what is not finished with comes again from there. */
  #start(position: string): void {
    this.position = position;
    this.isChanged = true;
    for (const { progress } of this.#members.values()) progress.start(position);
  }

  #keep(value: Value): void {
    const subject = value.event.subject ?? "";
    // The one that changed last is at the end.
    this.#values.delete(subject);
    this.#values.set(subject, value);
    this.isChanged = true;
    if (this.#values.size <= this.#host.maxEvents) return;
    const [oldest] = this.#values.keys();
    if (oldest !== undefined) this.#values.delete(oldest);
  }
}

/** The lower of two positions. `undefined` if they cannot be compared. */
function lower(one: string, other: string): string | undefined {
  return reaches(other, one) ? one : reaches(one, other) ? other : undefined;
}
