// Holds: what is loaded while a writer is at work is returned and not stored.
//
// A load can begin before a writer commits and end after its hold. So a load is held if a hold overlapped it at any time, and a
// hold is forgotten only when no load from its time is left.
//
// All times are those of the monotonic clock: a wall clock that is set forward must not end a hold.

import type { Invalidation } from "./source.js";

/** More names than this are not remembered: everything is held instead. */
const MAX_NAMES = 10_000;

/** By holder: until when. */
type Holders = Map<string, number>;

export class Holds {
  #tags = new Map<string, Holders>();
  #keys = new Map<string, Holders>();
  #prefixes = new Map<string, Holders>();
  /** Until when everything is held. */
  #everything = -Infinity;
  /** At how many names the expired ones are removed. */
  #sweepAt = 64;

  get #size(): number {
    return this.#tags.size + this.#keys.size + this.#prefixes.size;
  }

  /** Holds what is named until `until`. `oldest`: when the oldest load in progress began. */
  add(what: Invalidation, holder: string, until: number, oldest: number): void {
    for (const [names, holders] of this.#lists(what)) {
      for (const name of names) {
        let by = holders.get(name);
        if (by === undefined) holders.set(name, (by = new Map()));
        by.set(holder, Math.max(until, by.get(holder) ?? until));
      }
    }
    if (this.#size < this.#sweepAt) return;
    this.#sweep(oldest);
    if (this.#size > MAX_NAMES) this.#holdEverything();
    this.#sweepAt = Math.max(64, 2 * this.#size);
  }

  /** Ends the holds of a holder on what is named. */
  end(what: Invalidation, holder: string): void {
    for (const [names, holders] of this.#lists(what)) {
      for (const name of names) {
        const by = holders.get(name);
        if (by?.delete(holder) && by.size === 0) holders.delete(name);
      }
    }
  }

  /** Whether a hold overlaps the time from `since` on. */
  overlap(key: string, tags: readonly string[], since: number): boolean {
    if (this.#everything > since) return true;
    if (this.#size === 0) return false;
    const isLater = (by: Holders | undefined) => by !== undefined && [...by.values()].some((until) => until > since);
    if (isLater(this.#keys.get(key)) || tags.some((tag) => isLater(this.#tags.get(tag)))) return true;
    for (const [prefix, by] of this.#prefixes) if (key.startsWith(prefix) && isLater(by)) return true;
    return false;
  }

  #lists({ tags = [], keys = [], prefixes = [] }: Invalidation): [readonly string[], Map<string, Holders>][] {
    return [[tags, this.#tags], [keys, this.#keys], [prefixes, this.#prefixes]];
  }

  #sweep(oldest: number): void {
    for (const holders of [this.#tags, this.#keys, this.#prefixes]) {
      for (const [name, by] of holders) {
        for (const [holder, until] of by) if (until <= oldest) by.delete(holder);
        if (by.size === 0) holders.delete(name);
      }
    }
  }

  #holdEverything(): void {
    for (const holders of [this.#tags, this.#keys, this.#prefixes]) {
      for (const by of holders.values()) for (const until of by.values()) this.#everything = Math.max(this.#everything, until);
      holders.clear();
    }
  }
}
