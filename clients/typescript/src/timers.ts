// The timers of a bus. In Node, they can be kept from keeping the process alive.

export type Timer = ReturnType<typeof setTimeout>;

/** The longest delay of a timer in milliseconds, a day. A runtime fires a timer at once if its delay has more than 31 bits. */
export const MAX_TIMER_MS = 86_400_000;

export class Timers {
  readonly #running = new Set<Timer>();
  #isUnref = false;

  start(run: () => void, delayMs: number): Timer {
    const timer = setTimeout(() => {
      this.#running.delete(timer);
      run();
    }, Math.min(delayMs, MAX_TIMER_MS));
    this.#running.add(timer);
    if (this.#isUnref) unref(timer);
    return timer;
  }

  stop(timer: Timer | undefined): void {
    if (timer === undefined) return;
    clearTimeout(timer);
    this.#running.delete(timer);
  }

  /** From now on, no timer of this bus keeps the process alive. */
  unref(): void {
    this.#isUnref = true;
    this.#running.forEach(unref);
  }
}

/** Browsers have no such method: a timer is a number there. */
function unref(timer: unknown): void {
  (timer as { unref?: () => void }).unref?.();
}
