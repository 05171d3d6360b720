// The bus in React: hooks that subscribe while a component is on the page.

import { createContext, type ReactNode, useContext, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { type Bus, connect, type ConnectionState, type ConnectOptions, type EventName, type Handler, type OnOptions } from "tidings-client";

import type { CacheTag, EventMap } from "../shared/generated/events.ts";

interface ProviderProps {
  readonly url: string;
  readonly options: ConnectOptions;
  readonly children: ReactNode;
}

const BusContext = createContext<Bus<EventMap> | undefined>(undefined);

/** Gives the hooks below it a bus, which lives as long as the page. It connects with the first subscription. */
export function TidingsProvider({ url, options, children }: ProviderProps) {
  const [bus] = useState(() => connect<EventMap>(url, options));
  return <BusContext value={bus}>{children}</BusContext>;
}

export function useBus(): Bus<EventMap> {
  const bus = useContext(BusContext);
  if (bus === undefined) throw new Error("wrap the component in <TidingsProvider>");
  return bus;
}

/** The state of the connection. */
export function useConnection(): ConnectionState {
  const bus = useBus();
  return useSyncExternalStore((changed) => bus.onState(changed), () => bus.state);
}

/** Calls `handler` for each new event of this type that matches `options.where`. */
export function useEvents<Name extends EventName<EventMap>>(
  type: Name,
  options: Pick<OnOptions<EventMap[Name]>, "where">,
  handler: Handler<EventMap, Name>,
): void {
  const bus = useBus();
  const newest = useRef(handler);
  useEffect(() => void (newest.current = handler));
  // Options that are written in place are another object in each render.
  useEffect(() => bus.on(type, options, (data, event) => newest.current(data, event)), [bus, type, JSON.stringify(options)]);
}

/** Calls `listener` when one of the tags is invalidated, and when invalidations are lost. */
export function useInvalidation(tags: readonly CacheTag[], listener: () => void): void {
  const bus = useBus();
  const newest = useRef({ tags, listener });
  useEffect(() => void (newest.current = { tags, listener }));
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const remove = listen(bus, (invalidated) => {
      const isOwn = invalidated === "all" || newest.current.tags.some((tag) => invalidated.includes(tag));
      // Invalidations that arrive together are one reason to load.
      if (isOwn) timer ??= setTimeout(() => ((timer = undefined), newest.current.listener()));
    });
    return () => (remove(), clearTimeout(timer));
  }, [bus]);
}

type Listener = (tags: readonly string[] | "all") => void;

const listenersOf = new WeakMap<Bus<EventMap>, Set<Listener>>();

/**
 * Adds a listener to the invalidations of a bus. They share one subscription, which stays.
 *
 * It begins with what was invalidated in the last 10 s: data may have been loaded before the page was connected.
 */
function listen(bus: Bus<EventMap>, listener: Listener): () => void {
  let listeners = listenersOf.get(bus);
  if (listeners === undefined) {
    const all = (listeners = new Set<Listener>());
    listenersOf.set(bus, all);
    bus.on("cache-invalidate", { since: "10s" }, ({ tags = [] }) => all.forEach((listener) => listener(tags)));
    bus.onGap(({ channel }) => channel === "cache-invalidate" && all.forEach((listener) => listener("all")));
  }
  listeners.add(listener);
  return () => void listeners.delete(listener);
}
