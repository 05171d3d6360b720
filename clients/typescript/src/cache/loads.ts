// Runs a load: asks L2, takes the lock, calls the loader, and stores the value if nothing invalidated it meanwhile.

import { type Environment, every, sleep } from "./clock.js";
import type { Coherence } from "./coherence.js";
import { type Duration, milliseconds } from "./duration.js";
import type { Reports } from "./events.js";
import { type Beginning, Flight, type Flights, type Outcome } from "./flights.js";
import type { GuardedL2 } from "./l2.js";
import type { Demand, Proof } from "./proof.js";
import { NEVER, type Store } from "./store.js";
import type { LoadContext, Loader } from "./types.js";
import type { Validity } from "./validity.js";
import { newId } from "../id.js";

/** The options of a read, in milliseconds. */
export interface ReadOptions {
  readonly ttlMs: number;
  /** The TTL of `null` and `undefined`. */
  readonly absentTtlMs: number;
  readonly staleMs: number;
  readonly staleIfErrorMs: number;
  readonly boundMs: number;
  /** The tags that are known before the load. */
  readonly tags: readonly string[];
  /** Finds tags in the value. */
  readonly tagsOf: ((value: any) => readonly string[]) | undefined;
  readonly lock: { readonly waitMs: number; readonly leaseMs: number } | undefined;
  readonly signal: AbortSignal | undefined;
}

/** What is stored under a key. */
export interface NewEntry {
  readonly key: string;
  readonly value: unknown;
  readonly tags: readonly string[];
  readonly loadedAt: number;
  readonly ttlMs: number;
}

export interface LoadsParts {
  readonly environment: Environment;
  readonly reports: Reports;
  readonly validity: Validity;
  readonly store: Store;
  readonly flights: Flights;
  readonly coherence: Coherence;
  readonly proof: Proof;
  readonly l2: GuardedL2 | undefined;
  readonly maxTtlMs: number;
  readonly jitter: number;
  sizeOf(value: unknown, key: string): number;
}

/** How often a reader that waits for a lock looks into L2, in milliseconds: at first, and at last. */
const POLL = { minMs: 50, maxMs: 500 };

export class Loads {
  readonly #parts: LoadsParts;

  constructor(parts: LoadsParts) {
    this.#parts = parts;
  }

  /** Begins a load, which readers of the key may join from now on. */
  begin(key: string, load: Loader<any, any>, options: ReadOptions, demand: Demand): Flight {
    const { flights } = this.#parts;
    const flight = new Flight(key, options.tags);
    flights.add(flight, this.#now());
    flight.outcome = this.#run(flight, load, options, demand).finally(() => flights.remove(flight));
    // A load in the background has nobody who would catch its error.
    flight.outcome.catch(() => {});
    return flight;
  }

  #now(): Beginning {
    const { environment, validity } = this.#parts;
    return { startedAt: environment.clock.now(), heldFrom: environment.monotonic(), fence: validity.number, generation: validity.generation };
  }

  /** Stores a value in this process. */
  #store({ key, value, tags, loadedAt, ttlMs }: NewEntry): void {
    const { environment, validity, store, sizeOf } = this.#parts;
    const expiresAt = Math.floor(environment.clock.now() + ttlMs);
    store.set({
      // First what a hit reads, so that it is in one or two lines of the processor's cache.
      checked: validity.number,
      expiresAt,
      freshUntil: expiresAt,
      visited: false,
      value,
      key,
      loadedAt,
      tags: validity.acquire(tags),
      generation: validity.generation,
      softUntil: Infinity,
      size: sizeOf(value, key),
      newer: undefined,
      older: undefined,
    });
  }

  async #run(flight: Flight, load: Loader<any, any>, options: ReadOptions, demand: Demand): Promise<Outcome> {
    const { l2 } = this.#parts;
    if (l2 === undefined) return this.#load(flight, load, options);
    const found = await this.#fromL2(l2, flight, options, demand);
    if (found) return found;
    if (options.lock === undefined) return this.#load(flight, load, options);
    return this.#locked(l2, flight, load, options, options.lock, demand);
  }

  /** Loads while no other instance does, or takes what it has loaded. */
  async #locked(
    l2: GuardedL2,
    flight: Flight,
    load: Loader<any, any>,
    options: ReadOptions,
    { waitMs, leaseMs }: { waitMs: number; leaseMs: number },
    demand: Demand,
  ): Promise<Outcome> {
    const { environment } = this.#parts;
    const { key } = flight;
    const token = newId();
    const unlock = () => void l2.ask((l2) => l2.unlock(key, token));
    const until = environment.clock.now() + waitMs;
    for (let delayMs = POLL.minMs; ; delayMs = Math.min(POLL.maxMs, 2 * delayMs)) {
      const isFree = await l2.ask((l2) => l2.lock(key, token, leaseMs));
      if (delayMs > POLL.minMs) {
        const found = await this.#fromL2(l2, flight, options, demand);
        if (found) {
          if (isFree) unlock();
          return found;
        }
      }
      if (isFree) break;
      // L2 does not answer, or the other instance takes too long: a lock saves work and is no condition.
      if (isFree === undefined || environment.clock.now() >= until) return this.#load(flight, load, options);
      await sleep(environment, delayMs);
    }
    const stopRenewing = every(environment, leaseMs / 3, () => void l2.ask((l2) => l2.extend(key, token, leaseMs)));
    try {
      return await this.#load(flight, load, options);
    } finally {
      stopRenewing();
      // After the write, which others wait for.
      void l2.settled().then(unlock);
    }
  }

  /** The entry of L2, if it may be served. */
  async #fromL2(l2: GuardedL2, { key }: Flight, { ttlMs }: ReadOptions, demand: Demand): Promise<Outcome | undefined> {
    const { environment, validity, store, coherence, proof, maxTtlMs } = this.#parts;
    const entry = await l2.get(key);
    if (entry === undefined) return undefined;
    // Its age is known only by the clock of another machine. So it may be served only if the bus has proved what is valid.
    if (!(await proof.reaches(demand)) || !coherence.isCurrentInL2(key, entry.tags, entry.fence)) return undefined;
    const { value, tags } = entry;
    const now = environment.clock.now();
    const stored = store.get(key);
    // One that was loaded here meanwhile, such as by `put`, has an age that is known.
    if (stored === undefined || !validity.isValid(stored, now) || now >= stored.freshUntil) {
      this.#store({ key, value, tags, loadedAt: NEVER, ttlMs: Math.min(entry.ttlMs, maxTtlMs, ttlMs) });
    }
    return { value, isFromL2: true, isFenced: false, isHeld: false };
  }

  /** Calls the loader, and stores what it returns. */
  async #load(flight: Flight, load: Loader<any, any>, options: ReadOptions): Promise<Outcome> {
    const { environment, reports, store, flights, coherence } = this.#parts;
    const { key } = flight;
    const fence = coherence.applied;
    flights.restart(flight, this.#now());
    const { startedAt } = flight;
    let ttlMs: number | undefined;
    let isSkipped = false;
    const context: LoadContext = {
      key,
      signal: flight.controller.signal,
      previous: store.get(key)?.value,
      tag: (...tags) => tags.forEach((tag) => flight.tags.add(tag)),
      ttl: (ttl: Duration) => void (ttlMs = milliseconds(ttl, "ttl")),
      skip: () => void (isSkipped = true),
    };
    reports.count.loads++;
    let value: unknown;
    let error: unknown;
    try {
      value = await load(context);
      for (const tag of options.tagsOf?.(value) ?? []) flight.tags.add(tag);
    } catch (cause) {
      error = cause;
      throw cause;
    } finally {
      reports.emit("load", { key, durationMs: environment.clock.now() - startedAt, error });
    }
    const tags = [...flight.tags];
    const isFenced = !coherence.isCurrent(key, tags, flight.fence, flight.generation);
    const isHeld = coherence.isHeld(key, tags, flight.heldFrom);
    if (isFenced || isHeld) {
      reports.count.fenced++;
      reports.emit("fenced", { key, tags });
    } else if (!isSkipped) {
      const wanted = ttlMs ?? (value == null ? options.absentTtlMs : options.ttlMs);
      this.keep({ key, value, tags, loadedAt: startedAt, ttlMs: wanted }, fence && `${fence.epoch}:${fence.offset}`);
    }
    return { value, isFromL2: false, isFenced, isHeld };
  }

  /** Stores a value here and, with a fence, in L2. Its TTL is spread and limited. */
  keep(entry: NewEntry, fence: string | undefined): void {
    const { environment, validity, store, l2, jitter, maxTtlMs } = this.#parts;
    const { key, value, tags, loadedAt } = entry;
    const ttlMs = Math.min(maxTtlMs, entry.ttlMs * (1 + jitter * (2 * environment.random() - 1)));
    if (ttlMs <= 0) return;
    const stored = store.get(key);
    // A load that began later has finished first: its value is the newer one.
    if (stored && stored.loadedAt > loadedAt && validity.isValid(stored, environment.clock.now())) return;
    this.#store({ ...entry, ttlMs });
    if (fence !== undefined) l2?.set(key, { value, tags, fence, ttlMs });
  }
}
