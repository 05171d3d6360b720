// The proof that this cache has heard of every invalidation: the last answered `sync` of the bus.
//
// A `sync` that was sent at a time and answered later proves that everything the log had when it was sent was applied. So the
// time of the proof is when the sync was sent, by the clock of this process: no two clocks are compared.
//
// At most one sync is in progress. Who needs a later one waits for the next, together with all others. A cache that nobody
// reads sends none.

import { type Environment, within } from "./clock.js";
import type { Source } from "./source.js";
import { NEVER } from "./store.js";

/** How long a read waits for a proof before it loads, in milliseconds. */
const WAIT_MS = 100;
/** How long a sync may be in progress before the next one is sent, in milliseconds. The daemon answers within 3 s. */
const GIVE_UP_MS = 5_000;
/** How long no sync is sent after one that failed, in milliseconds. */
const PAUSE_MS = 250;

/** What proof a read needs. */
export interface Demand {
  /** The value was loaded, or the sync was sent, at this time or later. */
  readonly notBefore: number;
  /**
   * At least the sync with this number was answered. A strict read counts instead of looking at a clock, in whose smallest unit
   * much can happen.
   */
  readonly sync: number;
}

const ANY: Demand = { notBefore: -Infinity, sync: 0 };

interface Attempt {
  readonly number: number;
  readonly sentAt: number;
  readonly answered: Promise<boolean>;
}

export class Proof {
  /** When the last answered sync was sent. */
  at: number = NEVER;
  /** The number of the last answered sync, and of the last one that was sent. */
  #answered = 0;
  #sent = 0;
  readonly #source: Source;
  readonly #environment: Environment;
  readonly #proven: (position: string, sentAt: number) => void;
  #current: Attempt | undefined;
  #next: Promise<boolean> | undefined;
  /** Whether the last sync failed or was not answered in time. Reads do not wait then. */
  #isSuspect = false;
  #pausedUntil = -Infinity;

  /** `proven` is called with the position of each answer, and when it was asked for. */
  constructor(source: Source, environment: Environment, proven: (position: string, sentAt: number) => void) {
    this.#source = source;
    this.#environment = environment;
    this.#proven = proven;
  }

  /** What a read that begins at `began` needs. */
  demand(began: number, boundMs: number): Demand {
    return boundMs > 0 ? { notBefore: began - boundMs, sync: 0 } : { notBefore: -Infinity, sync: this.#sent + 1 };
  }

  /** Whether a value that was loaded at `loadedAt` is proven. */
  covers({ notBefore, sync }: Demand, loadedAt: number): boolean {
    return this.#answered >= sync && Math.max(loadedAt, this.at) >= notBefore;
  }

  /** Sends a sync in the background, unless one is in progress. */
  refresh(): void {
    if (this.#source.isConnected) this.begin();
  }

  /** Sends the first sync, which is answered when the subscription has begun. */
  begin(): void {
    void this.#attempt(ANY);
  }

  /** Whether there is such a proof. Waits a short time for one. */
  async reaches(demand: Demand): Promise<boolean> {
    if (this.covers(demand, -Infinity)) return true;
    if (!this.#source.isConnected) return false;
    const answered = this.#attempt(demand);
    if (this.#isSuspect) return false;
    if ((await within(this.#environment, answered, WAIT_MS, undefined)) === undefined) this.#isSuspect = true;
    return this.covers(demand, -Infinity);
  }

  /** A sync that answers the demand. Resolves with whether it was answered. */
  #attempt(demand: Demand): Promise<boolean> {
    const now = this.#environment.clock.now();
    const current = this.#current;
    if (current !== undefined && now - current.sentAt < GIVE_UP_MS) {
      if (current.sentAt >= demand.notBefore && current.number >= demand.sync) return current.answered;
      this.#next ??= current.answered.then(() => ((this.#next = undefined), this.#attempt(ANY)));
      return this.#next;
    }
    if (now < this.#pausedUntil) return Promise.resolve(false);
    const number = ++this.#sent;
    const answered = this.#sync(number, now).finally(() => {
      if (this.#current === attempt) this.#current = undefined;
    });
    const attempt: Attempt = { number, sentAt: now, answered };
    this.#current = attempt;
    // Those that wait for the answer to the former one, if it is given up, have waited long enough.
    this.#next = undefined;
    return answered;
  }

  async #sync(number: number, sentAt: number): Promise<boolean> {
    const position = await this.#source.sync().catch(() => undefined);
    if (position === undefined) {
      this.#isSuspect = true;
      this.#pausedUntil = this.#environment.clock.now() + PAUSE_MS;
      return false;
    }
    this.#isSuspect = false;
    this.at = Math.max(this.at, sentAt);
    this.#answered = Math.max(this.#answered, number);
    this.#proven(position, sentAt);
    return true;
  }
}
