// The judge: finds stale reads in the logs of writers and readers.
//
// A read is stale at a bound if its version is older than the newest that was acknowledged before the read began, less the bound.
// So each read has one staleness: the time from the first acknowledgement of a newer version to the begin of the read.

/** The bounds at which stale reads are counted, in milliseconds. */
export const BOUNDS = [0, 100, 500, 2_000, 10_000];

/** How stale each read is: `writes` are `{ key, version, acknowledged? }`, `reads` are `{ key, version, began }`. */
export class Judge {
  /** By key: for each version, when it or a newer one was first acknowledged. */
  #since = new Map();

  constructor(writes) {
    for (const { key, version, acknowledged = Infinity } of writes) {
      const since = this.#since.get(key) ?? [];
      if (!this.#since.has(key)) this.#since.set(key, since);
      since[version] = Math.min(acknowledged, since[version] ?? Infinity);
    }
    for (const since of this.#since.values()) {
      for (let version = since.length - 2; version >= 0; version--) {
        since[version] = Math.min(since[version] ?? Infinity, since[version + 1] ?? Infinity);
      }
    }
  }

  /** For how long a newer version had been acknowledged when the read began, in milliseconds. 0 if none had. */
  staleness({ key, version, began }) {
    return Math.max(0, began - (this.#since.get(key)?.[version + 1] ?? Infinity));
  }

  /** Counts the stale reads by bound, and finds the worst one. */
  count(reads) {
    const stale = Object.fromEntries(BOUNDS.map((bound) => [bound, 0]));
    let [worstMs, worst] = [0, undefined];
    for (const read of reads) {
      const ms = this.staleness(read);
      for (const bound of BOUNDS) if (ms > bound) stale[bound]++;
      if (ms > worstMs) [worstMs, worst] = [ms, read];
    }
    return { stale, worstMs, worst };
  }

  /** How many reads are older than `boundMs`. */
  olderThan(reads, boundMs) {
    return reads.filter((read) => this.staleness(read) > boundMs).length;
  }
}
