// The hooks. Each subscription is made in an effect, so a server that renders subscribes to nothing.
//
// Options are compared by their contents, so that they can be written in place. Functions are always the newest ones, and a new
// one makes no new subscription.

import { useCallback, useEffect, useInsertionEffect, useRef, useSyncExternalStore } from "react";

import type { ConnectionState } from "../state.js";
import { type Invalidated, onInvalidate, type OnInvalidateOptions } from "../invalidate.js";
import type { EventName, EventOf, Handler } from "../types.js";
import { latestOf } from "./latest.js";
import { useBus } from "./provider.js";
import type { RegisteredEvents, UseEventsOptions, UseLatestOptions } from "./types.js";

/** What a server renders. */
const IDLE: ConnectionState = { status: "idle" };

/** Calls `handler` for each new event of the type `type`; with `where`, only for matching events. */
export function useEvents<Name extends EventName<RegisteredEvents>>(
  type: Name,
  handler: Handler<RegisteredEvents, Name>,
): void;
export function useEvents<Name extends EventName<RegisteredEvents>>(
  type: Name,
  options: UseEventsOptions<Name>,
  handler: Handler<RegisteredEvents, Name>,
): void;
export function useEvents<Name extends EventName<RegisteredEvents>>(
  type: Name,
  ...rest: [Handler<RegisteredEvents, Name>] | [UseEventsOptions<Name>, Handler<RegisteredEvents, Name>]
): void {
  const [options, handler]: [UseEventsOptions<Name>, Handler<RegisteredEvents, Name>] = rest.length === 1 ? [{}, rest[0]] : rest;
  const bus = useBus();
  const newest = useNewest(handler);
  const { enabled = true, where, since } = options;
  useEffect(() => {
    // A bus that is closed for good has told `onError` and `useConnection`.
    if (!enabled || bus.state.status === "closed") return;
    return bus.on(type, { where, since }, (data, event) => newest.current(data, event));
  }, [bus, type, enabled, contents({ where, since })]);
}

/**
 * The newest event of the type `type` that has come while a component was there; with `where`, the newest matching one.
 * `undefined` until then, and on a server. With `since`, retained events come first. With `subject`, it is the newest event of that
 * subject, also if it came before.
 */
export function useLatest<Name extends EventName<RegisteredEvents>>(
  type: Name,
  options: UseLatestOptions<Name> = {},
): EventOf<RegisteredEvents, Name> | undefined {
  const bus = useBus();
  const { enabled = true, where, since, subject } = options;
  const key = contents({ type, where, since, subject });
  const subscribe = useCallback(
    (changed: () => void) => (enabled ? latestOf(bus).subscribe(key, { type, where, since, subject }, changed) : () => {}),
    [bus, enabled, key],
  );
  const read = () => (enabled ? (latestOf(bus).get(key) as EventOf<RegisteredEvents, Name> | undefined) : undefined);
  return useSyncExternalStore(subscribe, read, () => undefined);
}

/** The state of the connection. On a server, and in the first render after it, it is `idle`. */
export function useConnection(): ConnectionState {
  const bus = useBus();
  const subscribe = useCallback((changed: () => void) => bus.onState(changed), [bus]);
  return useSyncExternalStore(subscribe, () => bus.state, () => IDLE);
}

/** Calls `listener` when one of the tags is invalidated, and after a gap. See `onInvalidate`. */
export function useInvalidation(
  tags: readonly string[],
  listener: (what: Invalidated) => void,
  { since, onError }: Omit<OnInvalidateOptions, "signal"> = {},
): void {
  const bus = useBus();
  const newest = useNewest({ tags, listener, onError });
  const hears = onError !== undefined;
  useEffect(() => {
    if (bus.state.status === "closed") return;
    return onInvalidate(bus, (what) => {
      const { tags, listener } = newest.current;
      if (what.all || what.tags.some((tag) => tags.includes(tag))) listener(what);
    }, { since, onError: hears ? (error) => newest.current.onError?.(error) : undefined });
  }, [bus, since, hears]);
}

/** A reference to the newest value, which an event sees that comes after the render. */
function useNewest<Value>(value: Value): { readonly current: Value } {
  const reference = useRef(value);
  // Before all other effects. Not in the render, which React may throw away.
  useInsertionEffect(() => {
    reference.current = value;
  });
  return reference;
}

/** A text that is the same for equal contents. A condition that is undefined is not the same as none: the bus refuses it. */
function contents(value: object): string {
  return JSON.stringify(value, (_, part: unknown) => (part === undefined ? { undefined: true } : part));
}
