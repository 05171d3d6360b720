// The types that the hooks share.

import type { Bus } from "../bus.js";
import type { EventMap } from "../generated/events.js";
import type { EventName, OnOptions } from "../types.js";

/**
 * Where a program registers its own events, so that all hooks know them:
 *
 * ```ts
 * declare module "tidings-client/react" {
 *   interface Register { events: EventMap }
 * }
 * ```
 */
export interface Register {}

/** The events of this program: those that it has registered, or the built-in ones. */
export type RegisteredEvents = Register extends { events: infer Events extends object } ? Events : EventMap;

/** The bus of this program. */
export type RegisteredBus = Bus<RegisteredEvents>;

/** The options of `useLatest`. */
export interface UseLatestOptions<Name extends EventName<RegisteredEvents>> extends UseEventsOptions<Name> {
  /**
   * Begins with the newest event of this subject that the daemon keeps, and follows only this subject, as `bus.watch` does. `since` does
   * not count then.
   */
  readonly subject?: string | undefined;
}

/** The options of `useEvents`. */
export interface UseEventsOptions<Name extends EventName<RegisteredEvents>>
  extends Pick<OnOptions<RegisteredEvents[Name]>, "where" | "since"> {
  /** With `false`, there is no subscription. Default: `true`. */
  readonly enabled?: boolean | undefined;
}
