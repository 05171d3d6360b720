// What Next.js 16 asks of its two kinds of cache handlers. Written down here so that the client needs no types of Next.js.

/** An entry of `"use cache"`. Times are seconds, `timestamp` is milliseconds since 1970. */
export interface NextCacheEntry {
  value: ReadableStream<Uint8Array>;
  tags: string[];
  stale: number;
  timestamp: number;
  expire: number;
  revalidate: number;
}

/** A handler for `cacheHandlers`, which `"use cache"` uses. */
export interface UseCacheHandler {
  /** The entry, if it may be served. */
  get(cacheKey: string, softTags: string[]): Promise<NextCacheEntry | undefined>;
  /** Stores an entry that is still being made. */
  set(cacheKey: string, pendingEntry: Promise<NextCacheEntry>): Promise<void>;
  /** Called before each request. */
  refreshTags(): Promise<void>;
  /** When one of these tags was invalidated last, in milliseconds since 1970. */
  getExpiration(tags: string[]): Promise<number>;
  /** Invalidates tags. */
  updateTags(tags: string[], durations?: { expire?: number }): Promise<void>;
}

/** How long a page or a route is fresh, and may be served, in seconds. */
export interface NextCacheControl {
  readonly revalidate: number | false;
  readonly expire?: number | undefined;
}

/** What `cacheHandler` returns for a page, a route or a `fetch`. */
export interface NextCacheValue {
  lastModified: number;
  value: any;
  cacheControl?: NextCacheControl | undefined;
}

/** The context of a `get` or `set` of `cacheHandler`. */
export interface NextCacheContext {
  readonly tags?: readonly string[];
  readonly softTags?: readonly string[];
  readonly cacheControl?: NextCacheControl | undefined;
}

/** A handler for `cacheHandler`, which pages, routes, `fetch` and `unstable_cache` use. Next.js makes one for each request. */
export interface IncrementalCacheHandler {
  /** The stored value, if it may be served. */
  get(cacheKey: string, context?: NextCacheContext): Promise<NextCacheValue | null>;
  /** Stores a value. */
  set(cacheKey: string, value: any, context?: NextCacheContext): Promise<void>;
  /** Invalidates tags. */
  revalidateTag(tags: string | string[], durations?: { expire?: number }): Promise<void>;
  /** Called at the end of each request. */
  resetRequestCache(): void;
}
