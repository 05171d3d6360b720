// What was invalidated lately, whether or not an entry had it: for loads in progress and for entries of L2.
//
// A load can learn its tags late, and an entry of L2 comes with tags that no stored entry has. Both have a fence, and are judged
// against everything after it. The history is bounded: of two halves, the older is forgotten when the younger is full. What
// has a fence before the oldest known invalidation counts as invalidated.

import { Named } from "./named.js";
import type { Invalidation } from "./source.js";

/** The last invalidation of a tag, key or prefix. */
interface Mark {
  /** Its number in this cache. */
  number: number;
  /** Its offset in the log. */
  offset: number;
}

/** How many names a half of the history has before it becomes the older half. */
const HALF_SIZE = 50_000;
/** A prefix is compared with every key that is judged, so it counts as so many names. */
const PREFIX_WEIGHT = 50;

class Half {
  readonly marks = new Named<Mark>();
  number = 0;
  offset = -1;

  get size(): number {
    return this.marks.size + PREFIX_WEIGHT * this.marks.prefixes;
  }

  record(what: Invalidation, number: number, offset: number): void {
    this.marks.update(what, (last) => ({ number: Math.max(number, last?.number ?? 0), offset: Math.max(offset, last?.offset ?? -1) }));
    this.number = Math.max(this.number, number);
    this.offset = Math.max(this.offset, offset);
  }
}

export class History {
  #young = new Half();
  #old = new Half();
  /** What has a lower number is not known any more. */
  #floorNumber = 0;
  /** What has a lower offset is not known. `undefined` until the first position is. */
  #floorOffset: number | undefined;

  /** Records an invalidation. Its offset is -1 if it has none yet. */
  record(what: Invalidation, number: number, offset: number): void {
    this.#young.record(what, number, offset);
    if (this.#young.size < HALF_SIZE) return;
    this.#floorNumber = Math.max(this.#floorNumber, this.#old.number);
    this.#floorOffset = Math.max(this.#floorOffset ?? this.#old.offset, this.#old.offset);
    this.#old = this.#young;
    this.#young = new Half();
  }

  /** The log is known from `offset` on, if that was not known before. */
  begin(offset: number): void {
    this.#floorOffset ??= offset;
  }

  /** Forgets everything up to the invalidation `number`. With `offset`, the log is known from there on. */
  clear(number: number, offset?: number): void {
    if (this.#young.size > 0 || this.#old.size > 0) {
      this.#young = new Half();
      this.#old = new Half();
    }
    this.#floorNumber = number;
    if (offset !== undefined) this.#floorOffset = offset;
  }

  /** Whether an invalidation with a higher number than `fence` may match. */
  matchesSince(fence: number, key: string, tags: readonly string[]): boolean {
    return fence < this.#floorNumber || this.#some(key, tags, ({ number }) => number > fence);
  }

  /** Whether an invalidation after `offset` may match. */
  matchesAfter(offset: number, key: string, tags: readonly string[]): boolean {
    return this.#floorOffset === undefined || offset < this.#floorOffset || this.#some(key, tags, (mark) => mark.offset > offset);
  }

  #some(key: string, tags: readonly string[], isAfter: (mark: Mark) => boolean): boolean {
    return this.#young.marks.some(key, tags, isAfter) || this.#old.marks.some(key, tags, isAfter);
  }
}
