// Elapsed time: the larger of what the monotonic clock and the wall clock say.
//
// The monotonic clock stops while a virtual machine sleeps. The wall clock can be stepped back, or stand still. Taking the larger
// of the two can only make an entry look older than it is, which costs a load and never a stale read. The clocks of two machines
// are never compared.

/** The two clocks of the machine, in milliseconds. */
export interface Clocks {
  monotonic(): number;
  wall(): number;
}

// Looked up once: in Node, the global is a getter.
const { performance } = globalThis;
const SYSTEM_CLOCKS: Clocks = { monotonic: () => performance.now(), wall: () => Date.now() };

/**
 * The wall clock shows whole milliseconds, and so gains and loses up to one on the monotonic clock all the time. In a browser, both
 * do. What it gains beyond this was a step, or the machine slept. In milliseconds.
 */
const SLACK_MS = 2;

/**
 * Within this time on the monotonic clock, the wall clock is not read again: a machine that goes to sleep and wakes up needs longer
 * to freeze its processes and to let them go on, and that much both clocks show. In milliseconds.
 */
const AWAKE_MS = 0.02;

/** A clock that never runs slower than either of the two clocks of the machine. */
export class Clock {
  readonly #clocks: Clocks;
  /** How much the wall clock has gained on the monotonic one by steps and sleep. */
  #gained = 0;
  /** The least that the wall clock was ahead of the monotonic one, since it gained the last time. */
  #least = Infinity;
  /** The monotonic time at which the wall clock was read. */
  #readAt = -Infinity;

  constructor(clocks: Clocks = SYSTEM_CLOCKS) {
    this.#clocks = clocks;
  }

  /**
   * Whole milliseconds since some moment. Whole, since V8 keeps small integers within an object, and other numbers apart from it:
   * a hit would wait for the memory of each.
   */
  now(): number {
    const monotonic = this.#clocks.monotonic();
    const since = monotonic - this.#readAt;
    // A reading of the wall clock costs as much as the rest of a hit. A monotonic clock that shows the same as before may be a coarse
    // one, and proves nothing.
    if (since <= 0 || since >= AWAKE_MS) this.#readWall(monotonic);
    return Math.floor(monotonic + this.#gained);
  }

  /** Reads the wall clock after the monotonic one, so that a sleep in between is noticed. */
  #readWall(monotonic: number): void {
    const ahead = this.#clocks.wall() - monotonic;
    this.#readAt = monotonic;
    if (ahead < this.#least) {
      this.#least = ahead;
    } else if (ahead > this.#least + SLACK_MS) {
      this.#gained += ahead - SLACK_MS - this.#least;
      this.#least = ahead - SLACK_MS;
    }
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
    // The slack, and what a whole millisecond of the wall clock and of `now` hides.
    clockErrorMs: SLACK_MS + 2,
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

/** Calls `call` again and again. Returns a function that ends it. */
export function every(environment: Environment, periodMs: number, call: () => void): () => void {
  let timer: unknown;
  const next = () => void (timer = environment.setTimer(() => (call(), next()), periodMs));
  next();
  return () => environment.clearTimer(timer);
}

/** The result of `promise`, or `late` if it has none within `limitMs`. */
export function within<Value, Late>(environment: Environment, promise: Promise<Value>, limitMs: number, late: Late): Promise<Value | Late> {
  return new Promise((resolve, reject) => {
    const timer = environment.setTimer(() => resolve(late), limitMs);
    promise.then(resolve, reject).finally(() => environment.clearTimer(timer));
  });
}
