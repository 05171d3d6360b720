// What was invalidated, by tag: decides whether something that was rendered may still be served.
//
// Invalidations are numbered as this process applies them. What is rendered has a fence: the number at which its rendering began.
// It is out of date if one of its tags has a mark with a higher number. Next.js names some tags, those of paths, only when it
// reads. So a tag is remembered whether or not an entry has it.
//
// The memory is bounded: of two halves, the older is forgotten when the younger is full. What has a fence from before that
// counts as out of date. So does everything after a loss.

import { Holds } from "../cache/holds.js";
import type { DeliveredInvalidation, Invalidation, SourceHandler } from "../cache/source.js";
import type { TidingsError } from "../errors.js";

/** How many tags a half has before it becomes the older one. */
const HALF_SIZE = 50_000;
/** How many invalidations of this process may wait for their return. */
const MAX_OWN = 1_000;
/** For how many invalidations it is known when they were applied. */
const MAX_TIMES = 4_096;
/** What takes longer to render is not stored, in milliseconds. */
const MAX_RENDER_MS = 300_000;

/** When a rendering began. */
export interface Fence {
  /** The number of the last invalidation that was applied before. */
  readonly number: number;
  /** By `performance.now()`. */
  readonly monotonic: number;
}

/** Whether something may be served: as it is, while it is rendered again, or not at all. */
export type Verdict = "fresh" | "stale" | "gone";

/** The invalidations of a tag. */
interface Mark {
  /** The number of the last one after which nothing older may be served. */
  hard: number;
  /** The number of the last one that lets older things be served until `softUntil`, by `performance.now()`. */
  soft: number;
  softUntil: number;
}

export class TagLog implements SourceHandler {
  #number = 0;
  /** What has a lower fence is out of date. */
  #floor = 0;
  #young = new Map<string, Mark>();
  #old = new Map<string, Mark>();
  /** The number at which the younger half was begun. */
  #youngSince = 0;
  /** When the last invalidations were applied, the oldest first. */
  #times: Fence[] = [];
  /** The invalidations of this process that have not come back. */
  readonly #own = new Set<string>();
  readonly #holds = new Holds();
  #hasBegun = false;
  readonly #onError: (error: TidingsError) => unknown;

  /** `onError` gets the error if the daemon refuses the subscription. */
  constructor(onError: (error: TidingsError) => unknown) {
    this.#onError = onError;
  }

  // From the bus

  invalidated({ id, cause, data }: DeliveredInvalidation): void {
    // What was rendered since this process has applied it is from after the write.
    if (this.#own.delete(id)) return;
    const now = performance.now();
    this.#apply(data, now);
    const { holdMs = 0 } = data;
    if (holdMs > 0) this.#holds.add(data, cause ?? id, now + holdMs, now - MAX_RENDER_MS);
    else if (cause !== undefined) this.#holds.end(data, cause);
  }

  lost(): void {
    this.#floor = this.#count(performance.now());
    this.#young.clear();
    this.#old.clear();
  }

  failed(error: TidingsError): void {
    if (error.code !== "closed") this.#onError(error);
  }

  /** The subscription has begun. What was rendered before may have been invalidated unnoticed. */
  proven(): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    this.lost();
  }

  // From this process

  /** Applies an invalidation of this process, before it is published under `id`. */
  applyOwn(what: Invalidation, id: string): void {
    // Those that wait longest are treated as foreign when they come back, which costs a rendering.
    if (this.#own.size >= MAX_OWN) this.#own.delete(this.#own.values().next().value!);
    this.#own.add(id);
    this.#apply(what, performance.now());
  }

  /** The fence of what begins now. */
  fence(): Fence {
    return { number: this.#number, monotonic: performance.now() };
  }

  /** The fence of what began at `monotonic`. `undefined` if that is too long ago. */
  fenceAt(monotonic: number): Fence | undefined {
    if (performance.now() - monotonic > MAX_RENDER_MS) return undefined;
    for (let index = this.#times.length - 1; index >= 0; index--) {
      const time = this.#times[index]!;
      if (time.monotonic < monotonic) return { number: time.number, monotonic };
    }
    return this.#times.length < MAX_TIMES ? { number: 0, monotonic } : undefined;
  }

  /** Whether something with this fence and these tags may be served, as far as invalidations go. */
  judge(fence: Fence, tags: Iterable<string>): Verdict {
    if (fence.number < this.#floor) return "gone";
    if (fence.number === this.#number) return "fresh";
    let verdict: Verdict = "fresh";
    for (const tag of tags) {
      const mark = this.#young.get(tag) ?? this.#old.get(tag);
      if (mark === undefined) continue;
      if (mark.hard > fence.number) return "gone";
      if (mark.soft <= fence.number) continue;
      if (performance.now() >= mark.softUntil) return "gone";
      verdict = "stale";
    }
    return verdict;
  }

  /** Whether a writer of one of these tags was at work since the fence. Then nobody knows what was read. */
  isHeld(fence: Fence, tags: readonly string[]): boolean {
    return this.#holds.overlap("", tags, fence.monotonic);
  }

  #apply({ tags = [], staleForMs = 0 }: Invalidation, now: number): void {
    const number = this.#count(now);
    for (const tag of tags) this.#mark(tag, number, now, staleForMs > 0 ? now + staleForMs : undefined);
  }

  /** The number of what is applied now. */
  #count(now: number): number {
    this.#times.push({ number: ++this.#number, monotonic: now });
    // Rarely, since it copies.
    if (this.#times.length > 2 * MAX_TIMES) this.#times = this.#times.slice(-MAX_TIMES);
    return this.#number;
  }

  #mark(tag: string, number: number, now: number, until: number | undefined): void {
    const mark = this.#young.get(tag) ?? this.#old.get(tag) ?? { hard: 0, soft: 0, softUntil: 0 };
    if (until === undefined) {
      mark.hard = number;
    } else {
      // Once the time that the former one allowed is over, it is over for all that is older.
      const isOver = mark.softUntil <= now;
      if (isOver) mark.hard = Math.max(mark.hard, mark.soft);
      mark.softUntil = isOver ? until : Math.min(mark.softUntil, until);
      mark.soft = number;
    }
    this.#young.set(tag, mark);
    if (this.#young.size < HALF_SIZE) return;
    // Marks that are only in the older half are from before the younger one was begun.
    this.#floor = Math.max(this.#floor, this.#youngSince);
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngSince = number;
  }
}
