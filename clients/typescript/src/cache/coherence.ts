// Applies invalidations and losses, in the order of the log, to the entries, the loads in progress and the holds. Knows how far
// this cache has applied the log.
//
// An invalidation of this cache is applied before it is published. When it comes back from the bus, only its position is new.

import type { Environment } from "./clock.js";
import type { Reports } from "./events.js";
import type { Flights } from "./flights.js";
import type { History } from "./history.js";
import { Holds } from "./holds.js";
import type { GuardedL2 } from "./l2.js";
import { names } from "./named.js";
import { place, type Place } from "./position.js";
import type { DeliveredInvalidation, Invalidation, SourceHandler } from "./source.js";
import type { Store } from "./store.js";
import type { Validity } from "./validity.js";
import type { TidingsError } from "../errors.js";

/** How many invalidations of this cache may wait for their return. */
const MAX_OWN = 1_000;

/** Waits for an invalidation of this cache to come back, and notices others that match in between. */
export interface Watcher {
  readonly id: string;
  readonly key: string;
  readonly tags: readonly string[];
  /** Called when it is back, or when another one or a loss came before. */
  done(position: string | undefined): void;
}

/** An invalidation of this cache that has not come back. */
interface Own {
  readonly what: Invalidation;
  readonly number: number;
  /** Whether the daemon has taken it. */
  isTaken: boolean;
  /** When publishing it failed. `undefined` if it did not. */
  failedAt: number | undefined;
}

export interface CoherenceParts {
  readonly environment: Environment;
  readonly reports: Reports;
  readonly validity: Validity;
  readonly history: History;
  readonly store: Store;
  /** For how long nothing is stored after an invalidation, in milliseconds. */
  readonly settleMs: number;
  /** Without it, the history is needed only for the loads in progress. */
  readonly l2: GuardedL2 | undefined;
  readonly flights: Flights;
}

export class Coherence implements SourceHandler {
  readonly #parts: CoherenceParts;
  readonly #holds = new Holds();
  readonly #own = new Map<string, Own>();
  readonly #watchers = new Set<Watcher>();
  readonly #waiting = new Set<() => void>();
  #applied: Place | undefined;
  /** Whether the subscription has begun: from then on, nothing is missed unnoticed. */
  #hasBegun = false;

  constructor(parts: CoherenceParts) {
    this.#parts = parts;
  }

  /** The position up to which everything is applied. `undefined` until the subscription has begun. */
  get applied(): Place | undefined {
    return this.#hasBegun ? this.#applied : undefined;
  }

  /** Whether this position is applied. */
  hasApplied(position: string): boolean {
    const { epoch, offset } = place(position);
    return this.#applied?.epoch === epoch && this.#applied.offset >= offset;
  }

  /** Calls `check` after each advance. Returns a function that ends it. */
  onAdvance(check: () => void): () => void {
    this.#waiting.add(check);
    return () => void this.#waiting.delete(check);
  }

  // From the bus

  invalidated({ position, id, cause, data }: DeliveredInvalidation): void {
    const { offset } = place(position);
    this.#enter(position, offset - 1);
    const own = this.#own.get(id);
    if (own === undefined) {
      this.#apply(data, id, cause, offset, position);
    } else {
      this.#own.delete(id);
      if (this.#parts.l2) this.#parts.history.record(own.what, own.number, offset);
    }
    this.#notify(data, id, position);
    this.#advance(position);
  }

  lost(position: string): void {
    const { validity, history, reports } = this.#parts;
    validity.lose();
    history.clear(validity.number, place(position).offset);
    for (const watcher of [...this.#watchers]) this.#finish(watcher, undefined);
    // They may be among what is lost.
    for (const [id, { isTaken }] of this.#own) if (isTaken) this.#own.delete(id);
    reports.count.gaps++;
    reports.emit("gap", { position });
    this.#applied = place(position);
    this.#advance(position);
  }

  failed(error: TidingsError): void {
    if (error.code !== "closed") this.#parts.reports.emit("error", { error });
  }

  /** A sync that was sent at `sentAt` was answered: everything up to `position` has been reported. */
  proven(position: string, sentAt: number): void {
    const { validity, history } = this.#parts;
    const { offset } = place(position);
    this.#enter(position, offset);
    for (const [id, { what, number, failedAt }] of this.#own) {
      if (failedAt === undefined || failedAt >= sentAt) continue;
      // It has no position. What has this fence may be from before it, what has a later one is not.
      history.record(what, number, offset + 1);
      this.#own.delete(id);
    }
    if (!this.#hasBegun) {
      // What was loaded before the subscription began may have been invalidated unnoticed.
      this.#hasBegun = true;
      validity.lose();
      if (!this.#parts.l2) history.clear(validity.number);
    }
    this.#advance(position);
  }

  // From this process

  /** Applies an invalidation of this cache, before it is published under `id`. */
  applyOwn(what: Invalidation, id: string, cause?: string): void {
    // Those that wait longest are treated as foreign when they come back, which costs a load.
    if (this.#own.size >= MAX_OWN) this.#own.delete(this.#own.keys().next().value!);
    this.#own.set(id, { what, number: this.#apply(what, id, cause, -1, undefined), isTaken: false, failedAt: undefined });
    this.#notify(what, id, undefined);
  }

  /** The daemon took an invalidation of this cache at `position`, or it is not known whether it did. */
  published(id: string, position: string | undefined): void {
    const own = this.#own.get(id);
    if (own === undefined) return;
    if (position === undefined) {
      own.failedAt = this.#parts.environment.clock.now();
      return;
    }
    if (this.#parts.l2) this.#parts.history.record(own.what, own.number, place(position).offset);
    own.isTaken = true;
    if (this.hasApplied(position)) this.#own.delete(id);
  }

  watch(watcher: Watcher): () => void {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }

  /** Whether a hold overlaps the time from `since` on, by the monotonic clock. */
  isHeld(key: string, tags: readonly string[], since: number): boolean {
    return this.#holds.overlap(key, tags, since);
  }

  /** Whether no invalidation after `fence` matches, and nothing was lost. */
  isCurrent(key: string, tags: readonly string[], fence: number, generation: number): boolean {
    const { validity, history } = this.#parts;
    if (generation !== validity.generation) return false;
    return fence === validity.number || !history.matchesSince(fence, key, tags);
  }

  /** Whether a value of L2 with this fence may be served, as far as invalidations go. */
  isCurrentInL2(key: string, tags: readonly string[], fence: Place): boolean {
    if (!this.#hasBegun || this.#applied?.epoch !== fence.epoch) return false;
    if (this.#parts.history.matchesAfter(fence.offset, key, tags)) return false;
    // An invalidation that was not published yet, or has not come back, has no offset.
    for (const { what } of this.#own.values()) if (names(what, key, tags)) return false;
    return !this.#holds.overlap(key, tags, this.#parts.environment.monotonic());
  }

  /** Applies an invalidation, and returns its number. */
  #apply(what: Invalidation, id: string, cause: string | undefined, offset: number, position: string | undefined): number {
    const { environment, reports, validity, history, store, settleMs, flights, l2 } = this.#parts;
    const now = environment.clock.now();
    const { tags = [], keys = [], prefixes = [], staleForMs = 0, holdMs = 0, reason } = what;
    const until = staleForMs > 0 ? now + staleForMs : undefined;
    const number = ++validity.number;
    let matched = prefixes.length > 0;
    for (const tag of tags) if (validity.markTag(tag, number, now, until)) matched = true;
    for (const key of keys) {
      const entry = store.get(key);
      if (entry === undefined) continue;
      validity.markEntry(entry, until);
      matched = true;
    }
    for (const prefix of prefixes) validity.markPrefix(prefix, number, until);
    const { oldest } = flights;
    if (l2 || oldest !== undefined) history.record(what, number, offset);
    else history.clear(number);
    const heldFrom = environment.monotonic();
    if (holdMs > 0) this.#holds.add(what, cause ?? id, heldFrom + holdMs, oldest ?? heldFrom);
    else if (cause !== undefined) this.#holds.end(what, cause);
    if (settleMs > 0) this.#holds.add(what, "", heldFrom + settleMs, oldest ?? heldFrom);
    reports.count.applied++;
    if (!matched) reports.count.unmatched++;
    reports.emit("invalidation", { position, tags, keys, prefixes, reason, matched });
    return number;
  }

  /** Notices the first position, from which the log is known after `offset`, and another epoch. */
  #enter(position: string, offset: number): void {
    const { epoch } = place(position);
    if (this.#applied === undefined) {
      this.#applied = { epoch, offset };
      this.#parts.history.begin(offset);
    } else if (this.#applied.epoch !== epoch) {
      // The bus tells a new epoch by a gap. This one it did not.
      this.lost(`${epoch}:${offset}`);
    }
  }

  #advance(position: string): void {
    const to = place(position);
    if (this.#applied === undefined || to.offset > this.#applied.offset) this.#applied = to;
    for (const check of [...this.#waiting]) check();
  }

  /** Ends the watcher of an invalidation that has come back at `position`, and those that another one than their own matches. */
  #notify(what: Invalidation, id: string, position: string | undefined): void {
    for (const watcher of [...this.#watchers]) {
      const isOwn = watcher.id === id;
      if (isOwn ? position !== undefined : names(what, watcher.key, watcher.tags)) this.#finish(watcher, isOwn ? position : undefined);
    }
  }

  #finish(watcher: Watcher, position: string | undefined): void {
    if (this.#watchers.delete(watcher)) watcher.done(position);
  }
}
