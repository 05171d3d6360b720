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
  /** The bound of a call, in milliseconds. */
  bound(bound: Duration): number;
  /** The options of a call in milliseconds. Not needed for most hits. */
  parse(options: GetOptions<any, any>): ReadOptions;
  readonly copy: ((value: any) => any) | undefined;
  readonly verifier: Verifier | undefined;
}

export class Reads {
  readonly #parts: ReadsParts;
  // What a hit needs, at hand.
  readonly #store: Store;
  readonly #validity: Validity;
  readonly #proof: Proof;
  readonly #reports: Reports;
  readonly #clock: Environment["clock"];

  constructor(parts: ReadsParts) {
    this.#parts = parts;
    this.#store = parts.store;
    this.#validity = parts.validity;
    this.#proof = parts.proof;
    this.#reports = parts.reports;
    this.#clock = parts.environment.clock;
  }

  /** The stored value, if it may be served. */
  peek(key: string): unknown {
    const entry = this.#store.get(key);
    const { boundMs, copy } = this.#parts;
    if (entry === undefined || !this.#isServable(entry, boundMs, true)) {
      this.#countMiss(key);
      return undefined;
    }
    return copy === undefined ? entry.value : copy(entry.value);
  }

  /** The value of a key. */
  get(key: string, load: Loader<any, any>, options: GetOptions<any, any>): Promise<any> {
    const entry = this.#store.get(key);
    const { copy } = this.#parts;
    const boundMs = options.bound === undefined ? this.#parts.boundMs : this.#parts.bound(options.bound);
    if (entry !== undefined && !options.signal?.aborted && this.#isServable(entry, boundMs, false)) {
      this.#parts.verifier?.sampled(entry, load);
      return Promise.resolve(copy === undefined ? entry.value : copy(entry.value));
    }
    const value = this.#read(key, load, this.#parts.parse(options));
    return copy === undefined ? value : value.then(copy);
  }

  /**
   * Whether an entry can be served at once: valid, young and proven. Counts the hit, and asks for the next proof when half of the
   * bound is over. `allowSoft`: also if an invalidation lets it be served for some time only.
   */
  #isServable(entry: Entry, boundMs: number, allowSoft: boolean): boolean {
    const now = this.#clock.now();
    if (boundMs === 0 || !this.#validity.isValid(entry, now) || now >= (allowSoft ? entry.expiresAt : entry.freshUntil)) return false;
    const { loadedAt } = entry;
    const { at } = this.#proof;
    const age = now - (loadedAt > at ? loadedAt : at);
    if (2 * age > boundMs) {
      this.#proof.refresh();
      if (age > boundMs) return false;
    }
    if (!entry.visited) entry.visited = true;
    this.#reports.count.hitsL1++;
    if (this.#reports.isHeard) this.#reports.emit("hit", { key: entry.key, level: 1, stale: now >= entry.freshUntil });
    return true;
  }

  async #read(key: string, load: Loader<any, any>, options: ReadOptions): Promise<unknown> {
    const { environment, reports, validity, store, flights, loads, proof } = this.#parts;
    const demand = proof.demand(environment.clock.now(), options.boundMs);
    const { begun } = flights;
    let hasWaited = false;
    for (;;) {
      options.signal?.throwIfAborted();
      const now = environment.clock.now();
      const entry = store.get(key);
      const isYoung = entry !== undefined && validity.isValid(entry, now) && now < entry.expiresAt + options.staleMs;
      if (isYoung && proof.covers(demand, entry.loadedAt)) return this.#serve(entry, now, load, options);
      let flight = flights.get(key);
      if (flight !== undefined && !this.#isCurrent(flight)) flight = undefined;
      // A strict read joins nothing that began before it.
      const isStrict = options.boundMs === 0;
      if (flight !== undefined && isStrict && flight.ordinal <= begun) flight = undefined;
      const isUnproven = flight !== undefined && !isStrict && !this.#covers(demand, flight);
      if ((isYoung || isUnproven) && !hasWaited) {
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
        const kept = options.signal?.aborted ? undefined : this.#keptForErrors(key, demand, options.staleIfErrorMs);
        if (kept === undefined) throw error;
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
  #serve(entry: Entry, now: number, load: Loader<any, any>, options: ReadOptions): unknown {
    const { reports, flights, loads, proof } = this.#parts;
    const { key, value } = entry;
    const isStale = now >= entry.freshUntil;
    entry.visited = true;
    reports.count.hitsL1++;
    reports.emit("hit", { key, level: 1, stale: isStale });
    if (isStale) {
      const flight = flights.get(key);
      // Its errors are not those of this reader. `wait`, so that no other reader who leaves ends it.
      if (flight === undefined || !this.#isCurrent(flight)) {
        loads.begin(key, load, { ...options, signal: undefined }, proof.demand(now, options.boundMs)).wait(undefined).catch(() => {});
      }
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

  /** Whether no invalidation has hit this load, as far as its tags are known. */
  #isCurrent({ key, tags, fence, generation, controller }: Flight): boolean {
    return !controller.signal.aborted && this.#parts.coherence.isCurrent(key, [...tags], fence, generation);
  }

  /** The entry that is served in place of an error. */
  #keptForErrors(key: string, demand: Demand, staleIfErrorMs: number): Entry | undefined {
    const { environment, validity, store, proof } = this.#parts;
    const now = environment.clock.now();
    const entry = store.get(key);
    const isKept = entry !== undefined && validity.isValid(entry, now) && now < entry.expiresAt + staleIfErrorMs;
    return isKept && proof.covers(demand, entry.loadedAt) ? entry : undefined;
  }
}
