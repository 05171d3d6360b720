// One subscription, and the backfill subscription of a channel: the data that `subscriptions.ts` works on.

import type { AnyWhere } from "./filter.js";
import type { TidingsError } from "./errors.js";
import type { CloudEvent } from "./generated/events.js";
import { reaches } from "./position.js";

/** A consumer of the events of a subscription: a handler, or a loop. */
export interface Subscriber {
  /** Returns a promise if the subscriber has not finished with the event yet. */
  deliver(event: CloudEvent): unknown;
  /** Takes events that were stored before the page was reloaded. By default, each is delivered. */
  restore?(events: readonly CloudEvent[]): void;
  /**
   * Called when no more events will follow: the bus was closed or, with an error, the daemon refused the subscription.
   * Returns whether the application has been notified of the error.
   */
  end(error?: TidingsError): boolean;
}

/**
 * A range of events that are lost, since the daemon's log no longer has them: those after `from`, up to and including
 * `position`. It is unknown whether a filter would have matched any of them.
 */
export interface Gap<Channel extends string = string> {
  readonly channel: Channel;
  readonly from: string;
  readonly position: string;
  /** Why, where it is not that the log no longer has them. */
  readonly reason?: string | undefined;
}

/** What the application subscribes to. */
export interface SubscribeRequest {
  readonly channel: string;
  readonly where: AnyWhere | undefined;
  /** Where to begin. `undefined` means with the next new event. */
  readonly since: string | undefined;
}

/** A subscription, which all subscribers with the same request share, and its state on the current connection. */
export interface Subscription extends SubscribeRequest {
  /** The same for equal requests. */
  readonly key: string;
  readonly sub: string;
  readonly subscribers: Set<Subscriber>;
  /** The position up to which its subscribers have everything. `undefined` until the daemon first confirms it. */
  position: string | undefined;
  /** How far the request for it is on this connection. It is `live` once the daemon has confirmed it. */
  state: "notRequested" | "requested" | "live";
  /** Whether a backfill subscription delivers its events until it is live. */
  backfilled: boolean;
  /**
   * Whether it was the first request for its channel on this connection. If so, no other subscription can have moved the
   * stream past its position.
   */
  requestedFirst: boolean;
  /** Whether the stream had passed the position that it needs when it was requested. */
  lagging: boolean;
  /** How many times in a row the daemon could not serve it yet. */
  failures: number;
}

/**
 * An unfiltered subscription from `since` on, which delivers events to the other subscriptions of its channel until the
 * daemon has confirmed all of them. So none of them lags, however late the daemon confirms it.
 */
export interface BackfillSubscription {
  readonly sub: string;
  readonly since: string;
  /** The lagging subscription that caused this backfill. */
  readonly lagging: Subscription;
}

/** Whether the events of the channel are delivered to this subscription. */
export function receivesEvents({ state, backfilled }: Subscription): boolean {
  return state === "live" || backfilled;
}

/**
 * The order of the requests for a channel on a new connection. First the subscriptions that resume, then those that begin
 * now: requested later, they would also receive the replay of one that begins in the past.
 */
function requestOrder({ position, since }: Subscription): number {
  return position !== undefined ? 0 : since === undefined ? 1 : 2;
}

/** Compares two requests for a channel by their order on a new connection. Of two in the past, the one that begins earlier is first. */
export function compareRequests(one: Subscription, other: Subscription): number {
  const [since, otherSince] = [one.since ?? "", other.since ?? ""];
  const byKind = requestOrder(one) - requestOrder(other);
  if (byKind !== 0 || since === otherSince) return byKind;
  return Number(reaches(since, otherSince)) - Number(reaches(otherSince, since));
}

/** Whether the backfill subscription delivers what this subscription needs. */
export function isCoveredBy({ position, since }: Subscription, backfill: BackfillSubscription): boolean {
  return position !== undefined || since === backfill.since;
}
