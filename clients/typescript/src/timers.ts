// The timers of a bus. In Node, they can be kept from keeping the process alive.

export type Timer = ReturnType<typeof setTimeout>;

export class Timers {
  readonly #running = new Set<Timer>();
  #isUnref = false;

  start(run: () => void, delayMs: number): Timer {
    const timer = setTimeout(() => {
      this.#running.delete(timer);
      run();
    }, delayMs);
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
