// Which stored entries are still valid: the last invalidation of each tag, and of each prefix.
//
// Invalidations are numbered in the order in which this cache applies them. An entry remembers the number up to which it is
// known to be valid, so that a hit with nothing new compares two numbers. An invalidation by tag writes one number, however
// many entries have the tag: they notice when they are read.
//
// A tag is known only while an entry has it, so memory does not grow with the tags ever seen.

/** A tag that at least one entry has. */
export interface TagState {
  readonly name: string;
  /** How many entries have it. */
  entries: number;
  /** The number of the last invalidation after which nothing older may be served. */
  hard: number;
  /** The number of the last invalidation that lets older values be served until `softUntil`. */
  soft: number;
  softUntil: number;
}

/** The part of an entry that decides whether it is valid. */
export interface Validated {
  readonly key: string;
  readonly tags: readonly TagState[];
  /** The generation in which it was loaded, or `GONE`. */
  generation: number;
  /** The number of the last invalidation that was compared with the entry. */
  checked: number;
  /** When its TTL ends. */
  expiresAt: number;
  /** The same, until an invalidation lets it be served for some time only: then it is not fresh any more. */
  freshUntil: number;
  /** Until when the publishers of invalidations let it be served. */
  softUntil: number;
}

/** The generation of an entry that an invalidation of its key has ended. */
export const GONE = -1;
/** More distinct prefixes than this are not remembered: all entries are dropped instead. */
const MAX_PREFIXES = 1_000;

interface PrefixMark {
  readonly prefix: string;
  readonly number: number;
  readonly until: number | undefined;
}

export class Validity {
  /** The number of the last invalidation. */
  number = 0;
  /** Increased by a loss: entries of an older generation are gone. */
  generation = 0;
  readonly #tags = new Map<string, TagState>();
  /** In the order of their numbers. */
  #prefixes: PrefixMark[] = [];

  /** How many tags are known. */
  get tags(): number {
    return this.#tags.size;
  }

  /** The states of these tags, for a new entry. `release` gives them back. */
  acquire(names: readonly string[]): TagState[] {
    return names.map((name) => {
      let tag = this.#tags.get(name);
      if (tag === undefined) {
        tag = { name, entries: 0, hard: 0, soft: 0, softUntil: 0 };
        this.#tags.set(name, tag);
      }
      tag.entries++;
      return tag;
    });
  }

  release(tags: readonly TagState[]): void {
    for (const tag of tags) if (--tag.entries === 0) this.#tags.delete(tag.name);
  }

  /** Marks a tag with the invalidation `number`. Returns whether an entry has the tag. */
  markTag(name: string, number: number, now: number, until: number | undefined): boolean {
    const tag = this.#tags.get(name);
    if (tag === undefined) return false;
    if (until === undefined) {
      tag.hard = number;
      return true;
    }
    if (tag.softUntil <= now) {
      // The time that the former invalidation allowed is over, for every entry from before it.
      tag.hard = Math.max(tag.hard, tag.soft);
      tag.softUntil = until;
    } else {
      tag.softUntil = Math.min(tag.softUntil, until);
    }
    tag.soft = number;
    return true;
  }

  /** Marks an entry that an invalidation named by its key. */
  markEntry(entry: Validated, until: number | undefined): void {
    if (until === undefined) entry.generation = GONE;
    else soften(entry, until);
  }

  markPrefix(prefix: string, number: number, until: number | undefined): void {
    // A hard mark covers an older one of the same prefix.
    if (until === undefined) this.#prefixes = this.#prefixes.filter((mark) => mark.prefix !== prefix);
    this.#prefixes.push({ prefix, number, until });
    if (this.#prefixes.length > MAX_PREFIXES) this.lose();
  }

  /** Drops everything, in constant time. */
  lose(): void {
    this.number++;
    this.generation++;
    this.#prefixes = [];
  }

  /** Whether an entry may be served at `now`, as far as invalidations go. */
  isValid(entry: Validated, now: number): boolean {
    return (entry.checked === this.number || this.#check(entry)) && now < entry.softUntil;
  }

  /** Compares an entry with the invalidations that are new to it. */
  #check(entry: Validated): boolean {
    const { checked } = entry;
    if (entry.generation !== this.generation) return false;
    for (const tag of entry.tags) {
      if (tag.hard > checked) return false;
      if (tag.soft > checked) soften(entry, tag.softUntil);
    }
    for (let index = this.#prefixes.length - 1; index >= 0; index--) {
      const { prefix, number, until } = this.#prefixes[index]!;
      if (number <= checked) break;
      if (!entry.key.startsWith(prefix)) continue;
      if (until === undefined) return false;
      soften(entry, until);
    }
    entry.checked = this.number;
    return true;
  }
}

function soften(entry: Validated, until: number): void {
  entry.softUntil = Math.min(entry.softUntil, until);
  entry.expiresAt = Math.min(entry.expiresAt, until);
  entry.freshUntil = 0;
}
