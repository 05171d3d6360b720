// The entries of this process, bounded by their number and, if the application knows them, their sizes.
//
// The eviction is SIEVE (Zhang et al., NSDI 2024): entries stand in the order of their arrival, and a read only sets a mark. A hand
// goes from the oldest to the newest, spares and unmarks what was read, and removes the first that was not. A hit so costs one
// write, and what is read once does not displace what is read often.

import type { TagState, Validated, Validity } from "./validity.js";

/** A stored value. */
export interface Entry extends Validated {
  readonly key: string;
  readonly value: unknown;
  readonly tags: readonly TagState[];
  /** When its load began. `NEVER` if another machine loaded it, whose clock cannot be compared. */
  readonly loadedAt: number;
  readonly size: number;
  /** Whether it was read since the hand passed it. */
  visited: boolean;
  newer: Entry | undefined;
  older: Entry | undefined;
}

/** Before every time. A small integer, as the times of the clock are. */
export const NEVER: number = -(2 ** 30);

export class Store {
  readonly #entries = new Map<string, Entry>();
  readonly #validity: Validity;
  readonly #maxEntries: number;
  readonly #maxBytes: number;
  #bytes = 0;
  #newest: Entry | undefined;
  #oldest: Entry | undefined;
  #hand: Entry | undefined;

  constructor(validity: Validity, maxEntries: number, maxBytes: number) {
    this.#validity = validity;
    this.#maxEntries = maxEntries;
    this.#maxBytes = maxBytes;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  /** Stores an entry in the place of one with the same key. Does not store one that is larger than the whole store. */
  set(entry: Entry): void {
    this.delete(entry.key);
    if (entry.size > this.#maxBytes) return this.#validity.release(entry.tags);
    while (this.#entries.size >= this.#maxEntries || this.#bytes + entry.size > this.#maxBytes) this.#evict();
    this.#entries.set(entry.key, entry);
    this.#bytes += entry.size;
    entry.older = this.#newest;
    if (this.#newest) this.#newest.newer = entry;
    this.#newest = entry;
    this.#oldest ??= entry;
  }

  delete(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.size;
    const { newer, older } = entry;
    if (this.#hand === entry) this.#hand = newer;
    if (newer) newer.older = older;
    else this.#newest = older;
    if (older) older.newer = newer;
    else this.#oldest = newer;
    this.#validity.release(entry.tags);
  }

  clear(): void {
    for (const key of [...this.#entries.keys()]) this.delete(key);
  }

  #evict(): void {
    let entry = this.#hand ?? this.#oldest;
    while (entry?.visited) {
      entry.visited = false;
      entry = entry.newer ?? this.#oldest;
    }
    if (entry === undefined) return;
    this.#hand = entry;
    this.delete(entry.key);
  }
}
