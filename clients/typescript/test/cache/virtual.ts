// A virtual clock and a fake source, with which a test drives a cache step by step.

import { Clock, type Environment } from "../../src/cache/clock.js";
import type { Invalidation, PublishedInvalidation, Source, SourceHandler } from "../../src/cache/source.js";
import { TidingsError } from "../../src/index.js";

/** Lets everything run that waits for no timer. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

interface Timer {
  readonly at: number;
  readonly call: () => void;
}

/** Two clocks and timers, which move only when the test says so. */
export class VirtualEnvironment implements Environment {
  readonly clock: Pick<Clock, "now">;
  readonly clockErrorMs = 0;
  /** What `random` returns. In the middle, so that nothing is spread. */
  next: () => number = () => 0.5;
  mono = 1_000;
  wall = 1_700_000_000_000;
  readonly #timers = new Set<Timer>();

  constructor(clock?: (environment: VirtualEnvironment) => Pick<Clock, "now">) {
    this.clock = clock?.(this) ?? new Clock({ monotonic: () => this.mono, wall: () => this.wall });
  }

  monotonic(): number {
    return this.mono;
  }

  random(): number {
    return this.next();
  }

  setTimer(call: () => void, delayMs: number): unknown {
    const timer = { at: this.mono + delayMs, call };
    this.#timers.add(timer);
    return timer;
  }

  clearTimer(timer: unknown): void {
    this.#timers.delete(timer as Timer);
  }

  /** Moves both clocks, and lets timers fire at their times. */
  async advance(ms: number): Promise<void> {
    const until = this.mono + ms;
    await settle();
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      const to = Math.max(this.mono, due?.at ?? until);
      this.wall += to - this.mono;
      this.mono = to;
      // A reading at each step, as a running program has them.
      this.clock.now();
      if (due === undefined) return;
      this.#timers.delete(due);
      due.call();
      await settle();
    }
  }
}

/** An invalidation in the log of the fake. */
export interface Logged {
  readonly position: string;
  readonly id: string;
  readonly cause: string | undefined;
  readonly data: Invalidation;
}

/** A bus whose log, connection and answers a test controls. */
export class FakeSource implements Source {
  isConnected = true;
  /** What happens to a sync: it is answered at once, waits, or fails at once. */
  syncs: "answered" | "silent" | "failing" = "answered";
  /** What happens to a publication: it is acknowledged and delivered, acknowledged only, or lost. */
  publications: "delivered" | "acknowledged" | "lost" = "delivered";
  epoch = "e";
  head = 0;
  /** What was published and not yet delivered. */
  readonly undelivered: Logged[] = [];
  readonly published: Logged[] = [];
  readonly #outstanding: { resolve: (position: string) => void; reject: (error: Error) => void }[] = [];
  handler!: SourceHandler;
  replays = false;
  #ids = 0;

  start(handler: SourceHandler, replay: boolean): () => void {
    this.handler = handler;
    this.replays = replay;
    return () => {};
  }

  get position(): string {
    return `${this.epoch}:${this.head}`;
  }

  get outstanding(): number {
    return this.#outstanding.length;
  }

  sync(): Promise<string> {
    if (this.syncs === "failing") return Promise.reject(new TidingsError("broker-unavailable", "no broker"));
    if (this.syncs === "answered") return Promise.resolve(this.position);
    return new Promise((resolve, reject) => void this.#outstanding.push({ resolve, reject }));
  }

  /** Answers every outstanding sync. */
  answer(): void {
    for (const { resolve } of this.#outstanding.splice(0)) resolve(this.position);
  }

  fail(): void {
    for (const { reject } of this.#outstanding.splice(0)) reject(new TidingsError("broker-unavailable", "no broker"));
  }

  publish(data: Invalidation, { id, cause, signal }: PublishedInvalidation): Promise<string> {
    if (this.publications === "lost") {
      return new Promise((_, reject) => {
        if (signal === undefined) reject(new TidingsError("network", "cannot be reached", { ids: [id] }));
        signal?.addEventListener("abort", () => reject(signal.reason));
      });
    }
    const position = `${this.epoch}:${++this.head}`;
    const logged = { position, id, cause, data };
    this.published.push(logged);
    if (this.publications === "delivered") this.handler.invalidated(logged);
    else this.undelivered.push(logged);
    return Promise.resolve(position);
  }

  /** An invalidation of another instance arrives. */
  invalidate(data: Invalidation, id = `other-${++this.#ids}`, cause?: string): void {
    this.handler.invalidated({ position: `${this.epoch}:${++this.head}`, id, cause, data });
  }

  /** What was published arrives. */
  deliver(): void {
    for (const logged of this.undelivered.splice(0)) this.handler.invalidated(logged);
  }

  /** The next `count` events are lost. */
  lose(count: number): void {
    this.head += count;
    this.handler.lost(this.position);
  }

  /** The log is a new one. */
  begin(epoch: string): void {
    this.epoch = epoch;
    this.head = 0;
    this.handler.lost(this.position);
  }
}
