// The types of the public API: options of a cache and of its calls.

import type { CacheEvents, CacheStats } from "./events.js";
import type { Duration } from "./duration.js";
import type { L2 } from "./l2.js";
import type { CacheBus } from "./source.js";

/** The options of `createCache`. Durations are milliseconds, or a text such as `"2s"`. */
export interface CacheOptions {
  /** The bus that brings invalidations. Closing the cache does not close it. */
  readonly bus: CacheBus;
  /**
   * How old an entry can be, at most, after an invalidation was acknowledged. Default: 2 s. With 0, each read asks the bus.
   */
  readonly bound?: Duration | undefined;
  /** How long an entry is fresh, if nothing invalidates it. */
  readonly ttl: Duration;
  /** No TTL is longer, whatever a call or a loader says. Default: no limit. */
  readonly maxTtl?: Duration | undefined;
  /** The part of a TTL by which it is spread, so that entries do not expire together. From 0 to 1. Default: 0.2. */
  readonly jitter?: number | undefined;
  /** How many entries are stored. */
  readonly maxEntries: number;
  /** How many bytes are stored, as `sizeOf` counts them. Default: no limit. */
  readonly maxBytes?: number | undefined;
  /** The size of a value. Needed with `maxBytes`. */
  readonly sizeOf?: ((value: unknown, key: string) => number) | undefined;
  /** For how long nothing is stored after an invalidation: the lag of a replica from which loaders read. Default: 0. */
  readonly settle?: Duration | undefined;
  /** A second level, which all instances share; see `redisL2`. */
  readonly l2?: L2 | undefined;
  /** Loads this part of the hits again, and reports values that changed without an invalidation. */
  readonly verify?: VerifyOptions | undefined;
  /**
   * Whether callers get copies of stored values, by `structuredClone` or by a function. By default they share one object, which
   * nobody may change.
   */
  readonly clone?: boolean | (<Value>(value: Value) => Value) | undefined;
}

/** The option `verify`: how hits are compared with what the loader returns. */
export interface VerifyOptions {
  /** The part of the hits that is loaded again, from 0 to 1. */
  readonly sample: number;
  /** Whether two values are the same. Default: whether they have the same JSON. */
  readonly equal?: ((stored: unknown, loaded: unknown) => boolean) | undefined;
}

/** What a loader gets. */
export interface LoadContext<Value = unknown, Tag extends string = string> {
  /** The key, as it is stored: with the prefix of its namespace. */
  readonly key: string;
  /** Aborted when nobody waits for the value any more, and when the cache is closed. */
  readonly signal: AbortSignal;
  /** The last value of the key, which may not be served any more, if it is still there. */
  readonly previous: Value | undefined;
  /** Adds tags to the entry, which are known only now. */
  tag(...tags: readonly Tag[]): void;
  /** Sets the TTL of the entry. */
  ttl(ttl: Duration): void;
  /** The value is returned and not stored. */
  skip(): void;
}

/** Loads the value of a key that is not in the cache, or may not be served. */
export type Loader<Value, Tag extends string = string> = (context: LoadContext<Value, Tag>) => Value | Promise<Value>;

/** How one instance loads while the others wait for its result in L2. */
export interface LockOptions {
  /** How long to wait before loading all the same. Default: 5 s. */
  readonly wait?: Duration | undefined;
  /** After how long the lock of a process that has died ends. A live one renews it. Default: 10 s. */
  readonly lease?: Duration | undefined;
}

/** The options of a read. */
export interface GetOptions<Value = unknown, Tag extends string = string> {
  /** Default: that of the cache. */
  readonly ttl?: Duration | undefined;
  /** The tags of the entry, or a function that finds them in the value. */
  readonly tags?: readonly Tag[] | ((value: Value) => readonly Tag[]) | undefined;
  /** The TTL of `null` and `undefined`. Default: the TTL, and at most 30 s. */
  readonly absentTtl?: Duration | undefined;
  /** For how long after its TTL an entry is served while it is loaded again. Default: 0. */
  readonly staleWhileRevalidate?: Duration | undefined;
  /** For how long after its TTL an entry is served if its loader fails. Default: 0. */
  readonly staleIfError?: Duration | undefined;
  /** Default: that of the cache. */
  readonly bound?: Duration | undefined;
  /** Whether only one instance loads at a time. Needs an `l2`. Default: no. */
  readonly lock?: boolean | LockOptions | undefined;
  /** Ends the waiting of this caller. */
  readonly signal?: AbortSignal | undefined;
}

/** What is invalidated. At least one of the lists has an element. */
export interface InvalidateWhat<Tag extends string = string> {
  readonly tags?: readonly Tag[] | undefined;
  readonly keys?: readonly string[] | undefined;
  readonly prefixes?: readonly string[] | undefined;
  /** For people. */
  readonly reason?: string | undefined;
  /** For how long the old values may be served while they are loaded again, in milliseconds. Default: 0. */
  readonly staleForMs?: number | undefined;
}

/** The options of `put`. */
export interface PutOptions<Value, Tag extends string = string> {
  /** Writes the value to where loaders read it. */
  readonly save: (value: Value) => unknown;
  readonly tags?: readonly Tag[] | undefined;
  readonly ttl?: Duration | undefined;
}

/** The options of `wrap`. */
export interface WrapOptions<Args extends readonly unknown[], Value, Tag extends string = string>
  extends Omit<GetOptions<Value, Tag>, "tags" | "signal"> {
  /** The key for these arguments; a text is followed by the arguments as JSON. */
  readonly key: string | ((...args: Args) => string);
  /** The tags for these arguments. */
  readonly tags?: readonly Tag[] | ((...args: Args) => readonly Tag[]) | undefined;
}

/** A cache of this process, which the bus keeps coherent. */
export interface Cache<Tag extends string = string> {
  /**
   * The value of a key: the stored one, if it may be served, else what `load` returns. Concurrent loads of a key are one.
   *
   * `null` and `undefined` are values. What `load` throws is thrown, and not stored.
   */
  getOrSet<Value>(key: string, load: Loader<Value, Tag>, options?: GetOptions<Value, Tag>): Promise<Value>;
  /** The same function, cached. */
  wrap<Args extends unknown[], Value>(
    load: (...args: Args) => Value | Promise<Value>,
    options: WrapOptions<Args, Value, Tag>,
  ): (...args: Args) => Promise<Value>;
  /** The stored value, if it may be served now. Loads nothing and waits for nothing. */
  peek<Value>(key: string): Value | undefined;
  /**
   * Write-through: saves the value, invalidates its key and tags, and stores it. It is not stored if another invalidation came
   * in between. Resolves with the position of the invalidation.
   *
   * @throws What `save` throws, and a `TidingsError` as `invalidate` does.
   */
  put<Value>(key: string, value: Value, options: PutOptions<Value, Tag>): Promise<{ readonly position: string }>;
  /**
   * Invalidates, writes and invalidates again. Until the end, nobody stores what is named: so no cache keeps a value from before
   * the write, even if this process dies after its commit. Resolves with what `write` returns.
   *
   * @throws {TidingsError} if the first invalidation is not acknowledged within 5 s; nothing is written then. Also if the last one
   * is not: its `ids` are to be published again. What `write` throws is thrown.
   */
  mutate<Result>(what: InvalidateWhat<Tag>, write: () => Result | Promise<Result>, options?: { readonly hold?: Duration | undefined }): Promise<Result>;
  /**
   * Invalidates, first here and then everywhere. Call it after the commit. Resolves when the daemon has acknowledged it.
   *
   * @throws {TidingsError} if it is not known to be published; publishing it again under the `ids` of the error is safe.
   */
  invalidate(what: InvalidateWhat<Tag>): Promise<{ readonly position: string }>;
  /**
   * Waits until this cache has applied an invalidation, whose position another instance got. Resolves with `false` after
   * `timeout`, which is 5 s by default.
   */
  reached(position: string, options?: { readonly timeout?: Duration | undefined }): Promise<boolean>;
  /** The same cache, whose keys begin with `prefix`. Tags are common to all namespaces. */
  namespace(prefix: string): Cache<Tag>;
  /** The counters since the cache was created. */
  stats(): CacheStats;
  /** Calls `listener` for each event of this name. Returns a function that removes the listener. */
  on<Name extends keyof CacheEvents>(name: Name, listener: (event: CacheEvents[Name]) => void): () => void;
  /** Ends the subscription and loads in the background. Later reads are rejected. */
  close(): Promise<void>;
}
