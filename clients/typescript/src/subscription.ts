// One subscription: what is wanted of a channel, by whom, and how far it is.

import type { AnyWhere } from "./filter.js";
import type { TidingsError } from "./errors.js";
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

export interface Subscription extends Wanted {
  readonly key: string;
  readonly sub: string;
  readonly subscribers: Set<Subscriber>;
  /** Up to here its subscribers have everything; from here it goes on. Known once it has stood. */
  position: string | undefined;
  /** Whether the daemon, on this connection, was asked and has agreed. */
  state: "new" | "asked" | "standing";
  /** Whether an anchor brings it its events, until it stands. */
  carried: boolean;
  /** Whether it was the first of its channel that was asked for on this connection. */
  first: boolean;
  /** Whether the channel's stream was past what it needs when it was asked for. */
  behind: boolean;
  /** How often in a row the daemon could not say. */
  failures: number;
}

/**
 * Brings all events of a channel from `since` on while its subscriptions are asked for, which may take longer than the
 * stream waits for them: with an anchor, none is too late. It goes when they stand.
 */
export interface Anchor {
  readonly sub: string;
  readonly since: string;
  /** For whose sake it was cast. */
  readonly late: Subscription;
}

/** Whether the events that come are for it too. */
export function isFed({ state, carried }: Subscription): boolean {
  return state === "standing" || carried;
}

/**
 * When a channel's subscriptions are asked for on a new connection: those that go on, then those that begin. Those that
 * begin now come before those that begin in the past, which they would hear too.
 */
export function turn({ position, since }: Subscription): number {
  return position !== undefined ? 0 : since === undefined ? 1 : 2;
}

/** Whether an anchor brings this one what it needs. */
export function isHeld({ position, since }: Subscription, anchor: Anchor): boolean {
  return position !== undefined || since === anchor.since;
}
