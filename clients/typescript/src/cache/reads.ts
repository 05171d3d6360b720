// The read path: what is stored is served if it is valid, proven and young. Else the reader waits for a proof, joins a load or
// begins one.
//
// A read that begins at `t` is proven by a value that was loaded, or a sync that was sent, at `t - bound` or later.

import type { Environment } from "./clock.js";
import type { Coherence } from "./coherence.js";
import type { Duration } from "./duration.js";
import type { Reports } from "./events.js";
import type { Flight, Flights, Outcome } from "./flights.js";
import type { Loads, ReadOptions } from "./loads.js";
import type { Demand, Proof } from "./proof.js";
import type { Entry, Store } from "./store.js";
import type { GetOptions, Loader } from "./types.js";
import type { Validity } from "./validity.js";
import type { Verifier } from "./verify.js";

export interface ReadsParts {
  readonly environment: Environment;
  readonly reports: Reports;
  readonly validity: Validity;
  readonly store: Store;
  readonly flights: Flights;
  readonly loads: Loads;
  readonly coherence: Coherence;
  readonly proof: Proof;
  /** The bound of the cache, in milliseconds. */
  readonly boundMs: number;
  /** The bound of a call in milliseconds: that of the cache if it has none. */
  bound(bound: Duration | undefined): number;
  /** The options of a call in milliseconds. Not needed for most hits. */
  parse(options: GetOptions<any, any>): ReadOptions;
  readonly copy: ((value: any) => any) | undefined;
  readonly verifier: Verifier | undefined;
}

export class Reads {
  readonly #parts: ReadsParts;

  constructor(parts: ReadsParts) {
    this.#parts = parts;
  }

  /** The stored value, if it may be served. */
  peek(key: string): unknown {
    const { store, boundMs, copy } = this.#parts;
    const entry = store.get(key);
    if (entry === undefined || !this.#isServable(entry, boundMs, true)) {
      this.#countMiss(key);
      return undefined;
    }
    return copy === undefined ? entry.value : copy(entry.value);
  }

  /** The value of a key. */
  get(key: string, load: Loader<any, any>, options: GetOptions<any, any>): Promise<any> {
    const parts = this.#parts;
    const { copy } = parts;
    const entry = parts.store.get(key);
    if (entry !== undefined && !options.signal?.aborted && this.#isServable(entry, parts.bound(options.bound), false)) {
      parts.verifier?.sampled(entry, load);
      return Promise.resolve(copy === undefined ? entry.value : copy(entry.value));
    }
    const value = this.#read(key, load, parts.parse(options));
    return copy === undefined ? value : value.then(copy);
  }

  /**
   * Whether an entry can be served at once: valid, young and proven. Counts the hit. `allowSoft`: also if an invalidation lets it
   * be served for some time only.
   *
   * A hit of a busy cache takes the first condition of each line: nothing was invalidated since the last hit of this entry, and
   * the proof is younger than half of the bound.
   */
  #isServable(entry: Entry, boundMs: number, allowSoft: boolean): boolean {
    const { environment, validity, proof } = this.#parts;
    const now = environment.clock.now();
    if (entry.checked !== validity.number && !validity.isValid(entry, now)) return false;
    if (now >= (allowSoft ? entry.expiresAt : entry.freshUntil)) return false;
    if (2 * (now - proof.at) >= boundMs && !this.#isProven(entry, boundMs, now)) return false;
    this.#countHit(entry, now);
    return true;
  }

  #countHit(entry: Entry, now: number): void {
    const { reports } = this.#parts;
    if (!entry.visited) entry.visited = true;
    reports.count.hitsL1++;
    if (reports.isHeard) reports.emit("hit", { key: entry.key, level: 1, stale: now >= entry.freshUntil });
  }

  /** Whether an entry is proven. Asks for the next proof when half of the bound is over. */
  #isProven({ loadedAt }: Entry, boundMs: number, now: number): boolean {
    const { proof } = this.#parts;
    // A strict read asks the bus itself, even at the moment of the proof.
    if (boundMs === 0) return false;
    const age = now - Math.max(loadedAt, proof.at);
    if (2 * age > boundMs) proof.refresh();
    return age <= boundMs;
  }

  async #read(key: string, load: Loader<any, any>, options: ReadOptions): Promise<unknown> {
    const { environment, reports, validity, flights, loads, proof } = this.#parts;
    const demand = proof.demand(environment.clock.now(), options.boundMs);
    const { begun } = flights;
    let hasWaited = false;
    for (;;) {
      options.signal?.throwIfAborted();
      const entry = this.#young(key, options.staleMs);
      if (entry && proof.covers(demand, entry.loadedAt)) return this.#serve(entry, load, options);
      let flight = this.#current(key);
      const isStrict = options.boundMs === 0;
      // A strict read joins nothing that began before it.
      if (flight && isStrict && flight.ordinal <= begun) flight = undefined;
      const isUnproven = flight !== undefined && !isStrict && !this.#covers(demand, flight);
      if ((entry || isUnproven) && !hasWaited) {
        hasWaited = true;
        await this.#waitForProof(key, demand);
        continue;
      }
      const joined = isUnproven ? undefined : flight;
      const joinedAt = validity.number;
      if (joined) {
        reports.count.joined++;
        reports.emit("joined", { key });
      }
      let outcome: Outcome;
      try {
        outcome = await (joined ?? loads.begin(key, load, options, demand)).wait(options.signal);
      } catch (error) {
        this.#countMiss(key);
        const kept = this.#young(key, options.staleIfErrorMs);
        if (!kept || options.signal?.aborted || !proof.covers(demand, kept.loadedAt)) throw error;
        return kept.value;
      }
      // What was invalidated before this reader joined is not for it: the tags may have become known only at the end.
      const isFromBefore = joined !== undefined && outcome.isFenced && joinedAt > joined.fence;
      // What came from L2 was proven for the reader that asked L2.
      const isProven = outcome.isFromL2 ? proof.covers(demand, -Infinity) : !outcome.isHeld || joined === undefined || joined.startedAt >= demand.notBefore;
      if (joined && (isFromBefore || !isProven)) continue;
      if (outcome.isFromL2) {
        reports.count.hitsL2++;
        reports.emit("hit", { key, level: 2, stale: false });
      } else {
        this.#countMiss(key);
      }
      return outcome.value;
    }
  }

  #countMiss(key: string): void {
    const { reports } = this.#parts;
    reports.count.misses++;
    reports.emit("miss", { key });
  }

  /** Serves an entry. One that is not fresh is loaded again in the background. */
  #serve(entry: Entry, load: Loader<any, any>, options: ReadOptions): unknown {
    const { environment, loads, proof } = this.#parts;
    const { key, value } = entry;
    const now = environment.clock.now();
    this.#countHit(entry, now);
    if (now >= entry.freshUntil && !this.#current(key)) {
      // Its errors are not those of this reader. `wait`, so that no other reader who leaves ends it.
      loads.begin(key, load, { ...options, signal: undefined }, proof.demand(now, options.boundMs)).wait(undefined).catch(() => {});
    }
    return value;
  }

  async #waitForProof(key: string, demand: Demand): Promise<void> {
    const { environment, reports, proof } = this.#parts;
    const from = environment.clock.now();
    reports.count.unproven++;
    const proven = await proof.reaches(demand);
    reports.emit("unproven", { key, waitedMs: environment.clock.now() - from, proven });
  }

  /** Whether the value of a load that is in progress will be proven. */
  #covers(demand: Demand, { key, tags, startedAt, heldFrom }: Flight): boolean {
    const { proof, coherence } = this.#parts;
    if (startedAt >= demand.notBefore) return true;
    // The writer that holds it may have died: then no invalidation tells whether the load began before the commit.
    return proof.covers(demand, startedAt) && !coherence.isHeld(key, [...tags], heldFrom);
  }

  /** The load of a key that is in progress, unless an invalidation has hit it, as far as its tags are known. */
  #current(key: string): Flight | undefined {
    const { flights, coherence } = this.#parts;
    const flight = flights.get(key);
    if (!flight || flight.controller.signal.aborted) return undefined;
    return coherence.isCurrent(key, [...flight.tags], flight.fence, flight.generation) ? flight : undefined;
  }

  /** The stored entry, if it is valid, and not longer than `staleMs` past its TTL. */
  #young(key: string, staleMs: number): Entry | undefined {
    const { environment, validity, store } = this.#parts;
    const now = environment.clock.now();
    const entry = store.get(key);
    return entry && validity.isValid(entry, now) && now < entry.expiresAt + staleMs ? entry : undefined;
  }
}
