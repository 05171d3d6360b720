// What the cache reports: counters, listeners, and the diagnostics channel `tidings:cache` of Node.

import { Listeners } from "../listeners.js";

/** The counters of a cache. */
export interface CacheStats {
  /** Reads answered by this process. */
  readonly hitsL1: number;
  /** Reads answered by L2. */
  readonly hitsL2: number;
  /** Reads that neither could answer. */
  readonly misses: number;
  /** Calls of loaders, those in the background included. */
  readonly loads: number;
  /** Reads that waited for the load of another one. */
  readonly joined: number;
  /** Values that were returned and not stored, since an invalidation, a loss or a hold came meanwhile. */
  readonly fenced: number;
  /** Reads that had to wait for a proof. */
  readonly unproven: number;
  /** Ranges of invalidations that were lost, new epochs included. Each dropped all entries. */
  readonly gaps: number;
  /** Applied invalidations. */
  readonly applied: number;
  /** Those that named nothing that was stored here. Many of them may mean a misspelt tag. */
  readonly unmatched: number;
  /** Values that `verify` found changed without an invalidation. */
  readonly mismatches: number;
  /** Failures of L2. */
  readonly l2Errors: number;
  /** The part of the reads that were hits, from 0 to 1. 0 before the first read. */
  readonly hitRate: number;
}

/** The events of a cache, by name. */
export interface CacheEvents {
  hit: { readonly key: string; readonly level: 1 | 2; readonly stale: boolean };
  miss: { readonly key: string };
  load: { readonly key: string; readonly durationMs: number; readonly error?: unknown };
  joined: { readonly key: string };
  fenced: { readonly key: string; readonly tags: readonly string[] };
  unproven: { readonly key: string; readonly waitedMs: number; readonly proven: boolean };
  gap: { readonly position: string };
  invalidation: {
    /** Absent until the daemon has taken an invalidation of this cache. */
    readonly position?: string | undefined;
    readonly tags?: readonly string[] | undefined;
    readonly keys?: readonly string[] | undefined;
    readonly prefixes?: readonly string[] | undefined;
    readonly reason?: string | undefined;
    readonly matched: boolean;
  };
  mismatch: { readonly key: string; readonly tags: readonly string[] };
  "l2-error": { readonly error: unknown };
  /** The bus refused the subscription, or a listener failed. Without a listener, it goes to the console. */
  error: { readonly error: unknown };
}

/** The names of the events of `cache.on`. */
export type CacheEventName = keyof CacheEvents;

type Counters = { -readonly [Name in Exclude<keyof CacheStats, "hitRate">]: number };

/** A channel of `node:diagnostics_channel`. */
interface Channel {
  readonly hasSubscribers: boolean;
  publish(message: object): void;
}

export class Reports {
  readonly count: Counters = {
    hitsL1: 0, hitsL2: 0, misses: 0, loads: 0, joined: 0, fenced: 0, unproven: 0, gaps: 0, applied: 0, unmatched: 0,
    mismatches: 0, l2Errors: 0,
  };
  readonly #listeners = new Map<CacheEventName, Listeners<any>>();
  readonly #channel = diagnosticsChannel();

  get stats(): CacheStats {
    const { hitsL1, hitsL2, misses } = this.count;
    const reads = hitsL1 + hitsL2 + misses;
    return { ...this.count, hitRate: reads === 0 ? 0 : (hitsL1 + hitsL2) / reads };
  }

  on<Name extends CacheEventName>(name: Name, listener: (event: CacheEvents[Name]) => void): () => void {
    let listeners = this.#listeners.get(name) as Listeners<CacheEvents[Name]> | undefined;
    if (listeners === undefined) {
      listeners = new Listeners((cause) => console.error(`tidings: a listener of ${name} failed:`, cause));
      this.#listeners.set(name, listeners);
    }
    return listeners.add(listener);
  }

  /** Whether anybody listens, so that a hit need not make an event for nobody. */
  get isHeard(): boolean {
    return this.#listeners.size > 0 || this.#channel?.hasSubscribers === true;
  }

  emit<Name extends CacheEventName>(name: Name, event: CacheEvents[Name]): void {
    const listeners = this.#listeners.get(name);
    if (this.#channel?.hasSubscribers) this.#channel.publish({ type: name, ...event });
    if (listeners && listeners.size > 0) listeners.notify(event);
    else if (name === "error") console.error("tidings:", (event as CacheEvents["error"]).error);
  }
}

/** The diagnostics channel, where the runtime has them. Not an import: browsers have no such module. */
function diagnosticsChannel(): Channel | undefined {
  type Modules = { getBuiltinModule?: (name: string) => { channel(name: string): Channel } | undefined };
  const { process } = globalThis as { process?: Modules };
  return process?.getBuiltinModule?.("node:diagnostics_channel")?.channel("tidings:cache");
}
