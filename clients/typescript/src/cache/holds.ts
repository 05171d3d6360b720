// Holds: what is loaded while a writer is at work is returned and not stored.
//
// A load can begin before a writer commits and end after its hold. So a load is held if a hold overlapped it at any time, and a
// hold is forgotten only when no load from its time is left.
//
// All times are those of the monotonic clock: a wall clock that is set forward must not end a hold.

import { Named } from "./named.js";
import type { Invalidation } from "./source.js";

/** More names than this are not remembered: everything is held instead. */
const MAX_NAMES = 10_000;

/** By holder: until when. */
type Holders = Map<string, number>;

export class Holds {
  #names = new Named<Holders>();
  /** Until when everything is held. */
  #everything = -Infinity;
  /** At how many names the expired ones are removed. */
  #sweepAt = 64;

  /** Holds what is named until `until`. `oldest`: when the oldest load in progress began. */
  add(what: Invalidation, holder: string, until: number, oldest: number): void {
    this.#names.update(what, (by = new Map()) => by.set(holder, Math.max(until, by.get(holder) ?? until)));
    if (this.#names.size < this.#sweepAt) return;
    this.#names.updateAll((by) => {
      for (const [holder, until] of by) if (until <= oldest) by.delete(holder);
      return by.size > 0 ? by : undefined;
    });
    if (this.#names.size > MAX_NAMES) {
      this.#names.updateAll((by) => void (this.#everything = Math.max(this.#everything, ...by.values())));
    }
    this.#sweepAt = Math.max(64, 2 * this.#names.size);
  }

  /** Ends the holds of a holder on what is named. */
  end(what: Invalidation, holder: string): void {
    this.#names.update(what, (by) => (by?.delete(holder), by && by.size > 0 ? by : undefined));
  }

  /** Whether a hold overlaps the time from `since` on. */
  overlap(key: string, tags: readonly string[], since: number): boolean {
    return this.#everything > since || this.#names.some(key, tags, (by) => [...by.values()].some((until) => until > since));
  }
}
