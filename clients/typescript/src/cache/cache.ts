// Puts the parts of a cache together: `createCache`, and the views that namespaces are.

import { type Environment, systemEnvironment } from "./clock.js";
import { Coherence, type CoherenceParts } from "./coherence.js";
import { type Duration, milliseconds } from "./duration.js";
import { type CacheEventName, type CacheEvents, type CacheStats, Reports } from "./events.js";
import { Flights } from "./flights.js";
import { History } from "./history.js";
import { GuardedL2 } from "./l2.js";
import { Loads, type LoadsParts, type ReadOptions } from "./loads.js";
import { Proof } from "./proof.js";
import { Reads, type ReadsParts } from "./reads.js";
import { busSource, type Source } from "./source.js";
import { Store } from "./store.js";
import type { Cache, CacheOptions, GetOptions, InvalidateWhat, Loader, PutOptions, WrapOptions } from "./types.js";
import { Validity } from "./validity.js";
import { Verifier, type VerifierParts } from "./verify.js";
import { Writes, type WritesParts } from "./writes.js";
import { TidingsError } from "../errors.js";

/** Parts that a test replaces. */
export interface Replaced {
  readonly source?: Source;
  readonly environment?: Environment;
  readonly history?: History;
}

/**
 * A cache of this process, which the bus keeps coherent: a read never returns a value that is older than an invalidation which
 * was acknowledged more than `bound` before.
 *
 * @throws {TypeError} if an option cannot be used.
 */
export function createCache<Tag extends string = string>(options: CacheOptions): Cache<Tag> {
  return new View<Tag>(new Core(options), "");
}

/**
 * The parts of a cache, which all of its namespaces share. Each part gets the whole, and says by an interface which others it uses.
 */
export class Core implements CoherenceParts, LoadsParts, ReadsParts, WritesParts, VerifierParts {
  readonly environment: Environment;
  readonly source: Source;
  readonly reports: Reports = new Reports();
  readonly ttlMs: number;
  readonly boundMs: number;
  readonly maxTtlMs: number;
  readonly settleMs: number;
  readonly jitter: number;
  readonly flights: Flights = new Flights();
  readonly validity: Validity = new Validity();
  readonly history: History;
  readonly store: Store;
  readonly l2: GuardedL2 | undefined;
  readonly coherence: Coherence;
  readonly proof: Proof;
  readonly loads: Loads;
  readonly reads: Reads;
  readonly writes: Writes;
  readonly verifier: Verifier | undefined;
  readonly sizeOf: (value: unknown, key: string) => number;
  readonly copy: ((value: any) => any) | undefined;
  readonly #stop: () => void;
  #isClosed = false;

  constructor(options: CacheOptions, replaced: Replaced = {}) {
    const { bound = 2_000, ttl, maxTtl = Infinity, jitter = 0.2, maxEntries, maxBytes = Infinity, settle = 0, l2, verify, clone } = options;
    check(maxEntries > 0, "maxEntries", "a number above 0");
    check(jitter >= 0 && jitter <= 1, "jitter", "a number from 0 to 1");
    check(maxBytes === Infinity || options.sizeOf !== undefined, "maxBytes", "it together with sizeOf");
    this.environment = replaced.environment ?? systemEnvironment();
    this.source = replaced.source ?? busSource(options.bus);
    this.history = replaced.history ?? new History();
    this.ttlMs = milliseconds(ttl, "ttl");
    this.boundMs = this.bound(bound);
    this.maxTtlMs = milliseconds(maxTtl, "maxTtl");
    this.settleMs = milliseconds(settle, "settle");
    this.jitter = jitter;
    this.sizeOf = options.sizeOf ?? (() => 0);
    this.copy = clone === true ? structuredClone : clone || undefined;
    this.store = new Store(this.validity, maxEntries, maxBytes);
    this.l2 = l2 && new GuardedL2(l2, this.environment, this.reports);
    this.coherence = new Coherence(this);
    this.proof = new Proof(this.source, this.environment, (position, sentAt) => this.coherence.proven(position, sentAt));
    this.loads = new Loads(this);
    this.reads = new Reads(this);
    this.writes = new Writes(this);
    this.verifier = verify && new Verifier(this, verify);
    this.#stop = this.source.start(this.coherence, l2 !== undefined);
    this.proof.begin();
  }

  /** This. @throws {TidingsError} with the code `closed` if the cache is closed. */
  get open(): this {
    if (this.#isClosed) throw closedError();
    return this;
  }

  async reached(position: string, timeoutMs: number): Promise<boolean> {
    const { coherence, environment, proof } = this;
    if (coherence.hasApplied(position)) return true;
    // Learns a position whose events a filter of the daemon keeps from this client.
    proof.refresh();
    return new Promise((resolve) => {
      const end = (isReached: boolean) => {
        environment.clearTimer(timer);
        stop();
        resolve(isReached);
      };
      const timer = environment.setTimer(() => end(false), timeoutMs);
      const stop = coherence.onAdvance(() => {
        if (coherence.hasApplied(position)) end(true);
      });
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stop();
    this.flights.abort(closedError());
    await this.l2?.settled();
    this.store.clear();
  }

  /** A bound in milliseconds, less what the clock can be wrong by. Without one, that of the cache. */
  bound(bound: Duration | undefined): number {
    return bound === undefined ? this.boundMs : Math.max(0, milliseconds(bound, "bound") - this.environment.clockErrorMs);
  }

  /** The options of a read in milliseconds. */
  parse(options: GetOptions<any, any>): ReadOptions {
    const { tags = [], lock, signal } = options;
    const { wait = 5_000, lease = 10_000 } = typeof lock === "object" ? lock : {};
    const duration = (name: DurationOption, byDefault: number) => milliseconds(options[name] ?? byDefault, name);
    const ttlMs = duration("ttl", this.ttlMs);
    return {
      ttlMs,
      absentTtlMs: duration("absentTtl", Math.min(ttlMs, ABSENT_TTL_MS)),
      staleMs: duration("staleWhileRevalidate", 0),
      staleIfErrorMs: duration("staleIfError", 0),
      boundMs: this.bound(options.bound),
      tags: typeof tags === "function" ? [] : tags,
      tagsOf: typeof tags === "function" ? tags : undefined,
      lock: lock ? { waitMs: milliseconds(wait, "wait"), leaseMs: milliseconds(lease, "lease") } : undefined,
      signal,
    };
  }
}

/** A cache whose keys begin with a prefix. */
export class View<Tag extends string = string> implements Cache<Tag> {
  readonly #core: Core;
  readonly #prefix: string;

  constructor(core: Core, prefix: string) {
    this.#core = core;
    this.#prefix = prefix;
  }

  getOrSet<Value>(key: string, load: Loader<Value, Tag>, options: GetOptions<Value, Tag> = NO_OPTIONS): Promise<Value> {
    try {
      return this.#core.open.reads.get(this.#prefix + key, load, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  wrap<Args extends unknown[], Value>(
    load: (...args: Args) => Value | Promise<Value>,
    { key, tags = [], ...options }: WrapOptions<Args, Value, Tag>,
  ): (...args: Args) => Promise<Value> {
    return (...args) => {
      const name = typeof key === "function" ? key(...args) : key + JSON.stringify(args);
      return this.getOrSet<Value>(name, () => load(...args), { ...options, tags: typeof tags === "function" ? tags(...args) : tags });
    };
  }

  peek<Value>(key: string): Value | undefined {
    return this.#core.reads.peek(this.#prefix + key) as Value | undefined;
  }

  async put<Value>(key: string, value: Value, { save, tags = [], ttl }: PutOptions<Value, Tag>): Promise<{ readonly position: string }> {
    const { ttlMs, writes } = this.#core.open;
    return writes.put(this.#prefix + key, value, tags, milliseconds(ttl ?? ttlMs, "ttl"), save);
  }

  async mutate<Result>(
    what: InvalidateWhat<Tag>,
    write: () => Result | Promise<Result>,
    { hold = 5_000 }: { readonly hold?: Duration | undefined } = {},
  ): Promise<Result> {
    return this.#core.open.writes.mutate(this.#named(what), write, hold) as Promise<Result>;
  }

  async invalidate(what: InvalidateWhat<Tag>): Promise<{ readonly position: string }> {
    return this.#core.open.writes.invalidate(this.#named(what));
  }

  async reached(position: string, { timeout = 5_000 }: { readonly timeout?: Duration | undefined } = {}): Promise<boolean> {
    return this.#core.reached(position, milliseconds(timeout, "timeout"));
  }

  namespace(prefix: string): Cache<Tag> {
    return new View(this.#core, this.#prefix + prefix);
  }

  stats(): CacheStats {
    return this.#core.reports.stats;
  }

  on<Name extends CacheEventName>(name: Name, listener: (event: CacheEvents[Name]) => void): () => void {
    return this.#core.reports.on(name, listener);
  }

  close(): Promise<void> {
    return this.#core.close();
  }

  /** The same, with the keys as they are stored. */
  #named(what: InvalidateWhat<Tag>): InvalidateWhat<Tag> {
    const prefixed = (names: readonly string[] | undefined) => names?.map((name) => this.#prefix + name);
    const { keys, prefixes } = what;
    return { ...what, ...(keys && { keys: prefixed(keys) }), ...(prefixes && { prefixes: prefixed(prefixes) }) };
  }
}

const NO_OPTIONS = {};
/** How long `null` and `undefined` are kept by default, in milliseconds. */
const ABSENT_TTL_MS = 30_000;

/** The options of a read that are durations, and have no other default. */
type DurationOption = "ttl" | "absentTtl" | "staleWhileRevalidate" | "staleIfError";

function closedError(): TidingsError {
  return new TidingsError("closed", "the cache is closed: call createCache again");
}

/** @throws {TypeError} unless the option is right. */
function check(isRight: boolean, name: string, wanted: string): void {
  if (!isRight) throw new TypeError(`${name} cannot be used: pass ${wanted}`);
}
