// The adapter for TanStack Query 5, `tidings-client/query`: invalidations of the bus invalidate queries by their tags.
//
// It works with the query client of every framework, as they are all that of `@tanstack/query-core`, and imports none.

import { onInvalidate, type InvalidateBus, type Invalidated, type OnInvalidateOptions } from "../invalidate.js";
import type { Since } from "../types.js";

/** The part of a query that `bindQueryClient` uses. */
export interface QueryLike {
  readonly queryKey: readonly unknown[];
  readonly meta?: Record<string, unknown> | undefined;
  readonly state: { readonly data: unknown; readonly fetchStatus: string };
  /** Whether an observer uses it. */
  isActive(): boolean;
  /** Whether its observers have turned it off. */
  isDisabled(): boolean;
}

/** The part of a `QueryClient` that `bindQueryClient` uses. */
export interface QueryClientLike {
  /** The cache of its queries. */
  getQueryCache(): {
    /** All queries. */
    getAll(): QueryLike[];
    /** Reports changes of queries. Returns a function that ends it. */
    subscribe(listener: (event: any) => void): () => void;
  };
  /** Marks queries as stale, and loads the active ones again. */
  invalidateQueries(filters: { predicate: (query: any) => boolean }): Promise<unknown>;
}

/** The options of `bindQueryClient`. */
export interface BindOptions {
  /** The tags of a query. Default: the array `meta.tags` of the query. A query without tags is not bound. */
  tags?(query: QueryLike): readonly string[] | undefined;
  /** Where to begin; see `onInvalidate`. */
  readonly since?: Since | undefined;
  /** Called if the daemon refuses the subscription; see `onInvalidate`. All queries that have tags were invalidated then. */
  readonly onError?: OnInvalidateOptions["onError"];
}

/**
 * Invalidates the queries that have an invalidated tag, and all queries that have tags after a gap. Active ones are loaded again,
 * the others when they are next used. A reconnect without a gap invalidates what was invalidated meanwhile, and nothing else.
 *
 * A query whose fetch cannot be restarted, such as the first one, is invalidated again when it settles: its response may be
 * older than the invalidation.
 *
 * Returns a function that ends it.
 */
export function bindQueryClient(client: QueryClientLike, bus: InvalidateBus, { tags: tagsOf = metaTags, since, onError }: BindOptions = {}): () => void {
  const cache = client.getQueryCache();
  /** Queries whose fetch began before an invalidation, and goes on. */
  const outdated = new Set<QueryLike>();

  function invalidate(what: Invalidated): void {
    const names = new Set(what.tags);
    const hit = new Set(cache.getAll().filter((query) => {
      const tags = tagsOf(query) ?? [];
      return what.all ? tags.length > 0 : tags.some((tag) => names.has(tag));
    }));
    if (hit.size === 0) return;
    for (const query of hit) if (query.state.fetchStatus !== "idle" && !isRestarted(query)) outdated.add(query);
    void client.invalidateQueries({ predicate: (query: QueryLike) => hit.has(query) });
  }

  const stopWatching = cache.subscribe(({ type, query, action }: { type: string; query: QueryLike; action?: { type: string; manual?: boolean } }) => {
    if (!outdated.has(query)) return;
    if (type === "removed") outdated.delete(query);
    if (type !== "updated") return;
    // What failed has left no response, and a fetch that begins now is later than the invalidation.
    if (action?.type === "error" || action?.type === "fetch") outdated.delete(query);
    // `setQueryData` is manual: the fetch goes on.
    if (action?.type === "success" && action.manual !== true) {
      outdated.delete(query);
      void client.invalidateQueries({ predicate: (other) => other === query });
    }
  });
  const stop = onInvalidate(bus, invalidate, { since, onError });
  return () => {
    stop();
    stopWatching();
  };
}

/** Whether `invalidateQueries` cancels the query's fetch and begins a new one. It does so only where there is data to show. */
function isRestarted(query: QueryLike): boolean {
  return query.state.data !== undefined && query.isActive() && !query.isDisabled();
}

function metaTags({ meta }: QueryLike): readonly string[] | undefined {
  const tags = meta?.["tags"];
  return Array.isArray(tags) ? tags : undefined;
}
