// Elapsed time: the larger of what the monotonic clock and the wall clock say.
//
// The monotonic clock stops while a virtual machine sleeps. The wall clock can be set back. Taking the larger of the two can
// only make an entry look older than it is, which costs a load and never a stale read. The clocks of two machines are never
// compared.
//
// One thing is assumed of the wall clock: it runs. A reading in the same millisecond as the one before takes the result of that
// one. A clock that is set back and shows the same millisecond again, with no reading in between, so hides the time between,
// for 15 readings. The other way round, with the monotonic clock asked first, it would be the sleep of a machine: that happens.

/** The two clocks of the machine, in milliseconds. */
export interface Clocks {
  monotonic(): number;
  wall(): number;
}

export const SYSTEM_CLOCKS: Clocks = { monotonic: () => performance.now(), wall: () => Date.now() };

/**
 * A wall clock that has fallen behind by more than this was set back. Less is the grain of the clocks, or the time between two
 * readings. In milliseconds.
 */
const STEP_MS = 20;
/** After so many readings within one millisecond of the wall clock, the monotonic clock is asked again. */
const MAX_REPEATS = 16;

/** A clock that never runs slower than the monotonic one, nor than the wall clock unless that was set back. */
export class Clock {
  readonly #clocks: Clocks;
  #wall: number;
  /** The monotonic time of the first reading at which the wall clock showed `#wall`. */
  #wallSince: number;
  /** What the wall clock counts from. Changes when it is set back. */
  #origin: number;
  /** The most by which the wall clock has been ahead of the monotonic one. Only rises, by steps and sleep. */
  #ahead = 0;
  /** What `now` returned at last, and what it counts from. */
  #now = 0;
  readonly #start: number;
  #repeats = 0;

  constructor(clocks: Clocks = SYSTEM_CLOCKS) {
    this.#clocks = clocks;
    this.#wall = clocks.wall();
    this.#wallSince = this.#start = clocks.monotonic();
    this.#origin = this.#wall - this.#start;
  }

  /**
   * Whole milliseconds since the clock was made. Whole, since V8 keeps small integers within an object, and other numbers apart
   * from it: a hit would wait for the memory of each.
   */
  now(): number {
    const wall = this.#clocks.wall();
    // A reading of a clock costs as much as the rest of a hit. Within the same millisecond, the last result will do. Two readings
    // of both clocks come first, so that a wall clock that stands still is noticed.
    if (wall === this.#wall && this.#repeats > 0 && this.#repeats < MAX_REPEATS) {
      this.#repeats++;
      return this.#now;
    }
    const monotonic = this.#clocks.monotonic();
    if (wall !== this.#wall) {
      this.#wall = wall;
      this.#wallSince = monotonic;
      this.#repeats = 0;
    } else {
      this.#repeats = monotonic - this.#wallSince > 2 ? 0 : 1;
    }
    const ahead = wall - monotonic - this.#origin;
    if (ahead > this.#ahead) this.#ahead = ahead;
    else if (ahead < this.#ahead - STEP_MS) this.#origin += ahead - this.#ahead;
    return (this.#now = Math.floor(monotonic - this.#start + this.#ahead));
  }
}

/** What the cache needs of its surroundings, so that a test can replace them. */
export interface Environment {
  /** How old something is. */
  readonly clock: Pick<Clock, "now">;
  /** How long something has lasted at least: never faster than the time, whatever is done to the wall clock. In milliseconds. */
  monotonic(): number;
  /** By how much a reading can be too early, in milliseconds. */
  readonly clockErrorMs: number;
  /** A number from 0 up to 1. */
  random(): number;
  setTimer(call: () => void, delayMs: number): unknown;
  clearTimer(timer: unknown): void;
}

/** The environment outside of tests. Its timers do not keep the process alive. */
export function systemEnvironment(): Environment {
  return {
    clock: new Clock(),
    monotonic: SYSTEM_CLOCKS.monotonic,
    clockErrorMs: 2,
    random: Math.random,
    setTimer: (call, delayMs) => {
      const timer: unknown = setTimeout(call, delayMs);
      (timer as { unref?: () => void }).unref?.();
      return timer;
    },
    clearTimer: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
  };
}

/** Waits for `delayMs`. */
export function sleep(environment: Environment, delayMs: number): Promise<void> {
  return new Promise((resolve) => void environment.setTimer(resolve, delayMs));
}

/** The result of `promise`, or `late` if it has none within `limitMs`. */
export function within<Value, Late>(environment: Environment, promise: Promise<Value>, limitMs: number, late: Late): Promise<Value | Late> {
  return new Promise((resolve, reject) => {
    const timer = environment.setTimer(() => resolve(late), limitMs);
    promise.then(resolve, reject).finally(() => environment.clearTimer(timer));
  });
}
