// How far a subscriber has come with the events that it was given.
//
// A synchronous handler has finished with an event when it returns. An asynchronous handler and a loop finish later, and may have
// several events under way. What is stored must not be beyond them, so that a page that ends now gets them again.

/** Events that were given in the same period, as far as they are under way. */
interface Period {
  underWay: number;
}

/**
 * The position up to which a subscriber has finished with everything. It advances by periods, from one call of `advance` to the
 * next: two counters suffice, however many events are under way.
 */
export class Progress {
  #position: string | undefined;
  /** Everything in `#older` was given at or before this position. */
  #boundary: string | undefined;
  #older: Period = { underWay: 0 };
  #newer: Period = { underWay: 0 };

  /** Begins at `position`, if that is known. */
  constructor(position: string | undefined) {
    this.#position = position;
  }

  /** Begins at `position`, unless it has begun. */
  start(position: string): void {
    this.#position ??= position;
  }

  /** The subscriber was given an event. Returns a function that says that it has finished with it. */
  begin(): () => void {
    const period = this.#newer;
    period.underWay += 1;
    return () => void (period.underWay -= 1);
  }

  /** The subscriber was given everything up to `reached`. Returns up to where it has finished with it, as far as that is known. */
  advance(reached: string | undefined): string | undefined {
    if (reached === undefined || this.#older.underWay > 0) return this.#position;
    this.#position = this.#boundary ?? this.#position;
    this.#boundary = reached;
    this.#older = this.#newer;
    this.#newer = { underWay: 0 };
    if (this.#older.underWay === 0) this.#position = reached;
    return this.#position;
  }
}
