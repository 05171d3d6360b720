// The second level: what the cache needs of a store that all instances share, and how it is guarded.
//
// An entry carries its fence: the position that its instance had applied before it was loaded. An instance that has followed the
// log can judge it by that. So the store needs no sets of tags, and may fail, be slow, or hold something wrong.

import { type Environment, within } from "./clock.js";
import type { Reports } from "./events.js";
import { place, type Place } from "./position.js";

/** An entry of L2. */
export interface L2Entry {
  readonly value: unknown;
  readonly tags: readonly string[];
  /** The position that was applied before the value was loaded. */
  readonly fence: string;
  /** How long the entry has left, in milliseconds, by the clock of L2. */
  readonly ttlMs: number;
}

/** A second level. `redisL2` makes one of a Redis client. */
export interface L2 {
  /** The entry of a key, if there is one. */
  get(key: string): Promise<L2Entry | undefined>;
  /** Writes an entry, unless there is one with a newer fence. */
  set(key: string, entry: L2Entry): Promise<void>;
  /** Takes the lock of a key. Resolves with whether it was free. */
  lock(key: string, token: string, leaseMs: number): Promise<boolean>;
  /** Prolongs a lock that this token holds. */
  extend(key: string, token: string, leaseMs: number): Promise<void>;
  /** Gives back a lock that this token holds. */
  unlock(key: string, token: string): Promise<void>;
}

/** An entry of L2 whose form is right. */
export interface ReadEntry {
  readonly value: unknown;
  readonly tags: readonly string[];
  readonly fence: Place;
  readonly ttlMs: number;
}

/** How long L2 may take to answer, in milliseconds. */
const LIMIT_MS = 250;
/** How long L2 is not asked after a failure, in milliseconds. */
const PAUSE_MS = 1_000;

/** L2 behind a limit of time and a circuit breaker. Never throws. */
export class GuardedL2 {
  readonly #l2: L2;
  readonly #environment: Environment;
  readonly #reports: Reports;
  #pausedUntil = -Infinity;
  readonly #pending = new Set<Promise<unknown>>();

  constructor(l2: L2, environment: Environment, reports: Reports) {
    this.#l2 = l2;
    this.#environment = environment;
    this.#reports = reports;
  }

  async get(key: string): Promise<ReadEntry | undefined> {
    const entry = await this.ask((l2) => l2.get(key));
    if (entry === undefined) return undefined;
    const { value, tags, fence, ttlMs } = entry;
    const isSound = Array.isArray(tags) && tags.every((tag) => typeof tag === "string") && /^\S+:\d+$/.test(fence) && ttlMs > 0;
    if (isSound) return { value, tags, fence: place(fence), ttlMs };
    this.#failed(new TypeError(`L2 has something else under ${key}`), false);
    return undefined;
  }

  /** Writes in the background. */
  set(key: string, entry: L2Entry): void {
    const written = this.ask((l2) => l2.set(key, entry));
    this.#pending.add(written);
    void written.finally(() => this.#pending.delete(written));
  }

  /** Waits for the writes in the background. */
  async settled(): Promise<void> {
    await Promise.all(this.#pending);
  }

  /** What L2 answers. `undefined` if it fails, or is left alone after a failure. */
  async ask<Value>(call: (l2: L2) => Promise<Value>): Promise<Value | undefined> {
    if (this.#environment.clock.now() < this.#pausedUntil) return undefined;
    const late = new Error(`L2 did not answer within ${LIMIT_MS} ms`);
    try {
      const answer = await within(this.#environment, call(this.#l2), LIMIT_MS, late);
      if (answer !== late) return answer as Value;
      this.#failed(late, true);
    } catch (error) {
      this.#failed(error, true);
    }
    return undefined;
  }

  #failed(error: unknown, pauses: boolean): void {
    if (pauses) this.#pausedUntil = this.#environment.clock.now() + PAUSE_MS;
    this.#reports.count.l2Errors++;
    this.#reports.emit("l2-error", { error });
  }
}
