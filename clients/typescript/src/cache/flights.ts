// Loads in progress: one for each key, which all readers of the key share.
//
// An invalidation does not search the loads: it leaves a trace in the history. A reader that wants to join a load asks the history
// whether an invalidation has hit the load since it began. A load that was hit goes on for the readers that waited before; a later
// reader starts a new one.

/** What a load has come to. */
export interface Outcome {
  readonly value: unknown;
  readonly isFromL2: boolean;
  /** Whether it was invalidated meanwhile. */
  readonly isFenced: boolean;
  /** Whether a writer was at work meanwhile. */
  readonly isHeld: boolean;
}

/** The moment from which a load is judged. */
export interface Beginning {
  readonly startedAt: number;
  /** The same by the monotonic clock, for holds. */
  readonly heldFrom: number;
  /** The number of the last invalidation, and its generation. */
  readonly fence: number;
  readonly generation: number;
}

/** A load in progress. */
export class Flight implements Beginning {
  readonly key: string;
  readonly controller: AbortController = new AbortController();
  /** The tags that are known so far. */
  readonly tags: Set<string>;
  // Moved on until the loader is called. `declare`, since `restart` sets them.
  declare readonly startedAt: number;
  declare readonly heldFrom: number;
  declare readonly fence: number;
  declare readonly generation: number;
  /** The how manyth load it is. */
  ordinal = 0;
  outcome!: Promise<Outcome>;
  /** How many callers wait. A load in the background has one that never leaves. */
  #waiting = 0;

  constructor(key: string, tags: readonly string[]) {
    this.key = key;
    this.tags = new Set(tags);
  }

  /** Waits for the outcome, or until `signal` is aborted. When all have left, the load is told. */
  wait(signal: AbortSignal | undefined): Promise<Outcome> {
    this.#waiting++;
    if (signal === undefined) return this.outcome;
    return new Promise((resolve, reject) => {
      const leave = () => {
        if (--this.#waiting === 0) this.controller.abort(signal.reason);
        reject(signal.reason);
      };
      if (signal.aborted) return leave();
      signal.addEventListener("abort", leave, { once: true });
      this.outcome.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
    });
  }
}

/** All loads in progress. */
export class Flights {
  /** By key: the load that readers may join. */
  readonly #current = new Map<string, Flight>();
  /** In the order in which they began. */
  readonly #all = new Set<Flight>();
  /** How many loads have begun. */
  begun = 0;

  get(key: string): Flight | undefined {
    return this.#current.get(key);
  }

  /** When the oldest load began, by the monotonic clock. */
  get oldest(): number | undefined {
    for (const { heldFrom } of this.#all) return heldFrom;
    return undefined;
  }

  add(flight: Flight, now: Beginning): void {
    flight.ordinal = ++this.begun;
    this.#current.set(flight.key, flight);
    this.restart(flight, now);
  }

  /** Moves a load, which has not called its loader yet, to now. */
  restart(flight: Flight, now: Beginning): void {
    Object.assign(flight, now);
    this.#all.delete(flight);
    this.#all.add(flight);
  }

  remove(flight: Flight): void {
    this.#all.delete(flight);
    if (this.#current.get(flight.key) === flight) this.#current.delete(flight.key);
  }

  abort(reason: unknown): void {
    for (const { controller } of this.#all) controller.abort(reason);
  }
}
