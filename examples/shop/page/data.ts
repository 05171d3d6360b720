// How a side of the page gets its data: from its instance, and again when an event says that it changed.

import { createContext, useCallback, useContext, useEffect, useRef, useState } from "react";
import { useBus, useConnection, useInvalidation } from "tidings-client/react";

import type { Stats } from "../shared/api.ts";
import type { CacheTag } from "../shared/generated/events.ts";
import { get, type Name } from "./instance.ts";

/** Which instance a component talks to, and how that one is. */
export interface Instance {
  readonly name: Name;
  /** `undefined` until it has answered. */
  readonly stats: Stats | undefined;
  readonly isUp: boolean;
}

export const InstanceContext = createContext<Instance>({ name: "a", stats: undefined, isUp: true });
export const useInstance = () => useContext(InstanceContext);

/** How often an instance is asked again while it does not answer, in milliseconds. */
const RETRY_MS = 500;
/** How often the data is loaded while no event would tell of a change, in milliseconds. */
const POLL_MS = 1_000;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * What the instance answers to `path`. It is loaded again when one of the tags is invalidated: at once, and from the instance's
 * cache, which has dropped it by then.
 */
export function useData<Data>(path: string, tags: readonly CacheTag[], query: Record<string, string> = {}): Data | undefined {
  const { name } = useInstance();
  const bus = useBus();
  const isLive = useIsLive();
  const [data, setData] = useState<Data>();
  const requested = useRef(0);
  const shown = useRef(0);
  const search = new URLSearchParams(query).toString();

  const load = useCallback(async () => {
    const number = ++requested.current;
    for (; number === requested.current; await sleep(RETRY_MS)) {
      // The position of the newest invalidation that this page has seen: the answer must not be older.
      const after = bus.positions.get("cache-invalidate");
      const query = { ...Object.fromEntries(new URLSearchParams(search)), ...(after !== undefined && { after }) };
      const loaded = await get<Data>(name, path, query).catch(() => undefined);
      if (loaded === undefined) continue;
      // An answer that was overtaken by the answer to a later request.
      if (number < shown.current) return;
      shown.current = number;
      setData(loaded);
      return;
    }
  }, [bus, name, path, search]);

  useEffect(() => {
    void load();
    // Ends what is being loaded for another path.
    return () => void requested.current++;
  }, [load]);
  useInvalidation(tags, load);
  useEffect(() => {
    if (isLive) return;
    const timer = setInterval(load, POLL_MS);
    return () => clearInterval(timer);
  }, [isLive, load]);
  return data;
}

/** Whether events tell of each change. Not while this page is cut off from the bus, or events of its instance wait for the bus. */
export function useIsLive(): boolean {
  const { status } = useConnection();
  const { stats } = useInstance();
  return status === "open" && stats?.waiting === 0;
}

/** How an instance is, asked once in a second. */
export function useStats(name: Name): Instance {
  const [instance, setInstance] = useState<Instance>({ name, stats: undefined, isUp: true });
  useEffect(() => {
    const look = () =>
      get<Stats>(name, "/stats").then(
        (stats) => setInstance({ name, stats, isUp: true }),
        () => setInstance(({ stats }) => ({ name, stats, isUp: false })),
      );
    void look();
    const timer = setInterval(look, POLL_MS);
    return () => clearInterval(timer);
  }, [name]);
  return instance;
}
