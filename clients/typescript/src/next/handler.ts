// The cache handlers for Next.js: one class that is both kinds.
//
// What is rendered is kept in the memory of this process, with the tags that Next.js knows of it and a fence: what had been
// invalidated when its rendering began. It is served as long as nothing after the fence names one of its tags, and the bus has
// proved lately that nothing is missing.

import { busTag, NextCoherence, type NextHandlerOptions } from "./coherence.js";
import { Memory, sizeOf } from "./memory.js";
import type { Fence, Verdict } from "./tags.js";
import type { IncrementalCacheHandler, NextCacheContext, NextCacheControl, NextCacheEntry, NextCacheValue, UseCacheHandler } from "./types.js";

/** How many bytes are kept by default. */
const MAX_BYTES = 50 * 1024 * 1024;
/** For how many keys one request remembers when it began to read them. */
const MAX_FENCES = 1_000;
/** How long it remembers that, in milliseconds. */
const MAX_FENCE_AGE_MS = 300_000;
/** How many servings of old values are remembered. */
const MAX_STALE_SERVINGS = 1_000;
/**
 * For how long after an invalidation an old value makes what is made of it old, too, in milliseconds. Until then it has been rendered
 * again. Without an end, two values with the same tags could keep each other old.
 */
const MAX_STALE_MS = 60_000;

/** Before everything, in milliseconds since 1970. Next.js takes -1 for something else. */
const LONG_AGO = -1e13;

/** What both kinds keep. */
interface Kept {
  readonly size: number;
  readonly fence: Fence;
  /** As they are on the bus. */
  readonly tags: readonly string[];
  /** When it was first served as an old value. */
  staleSince: number | undefined;
}

/** An entry of `"use cache"`. */
interface KeptEntry extends Kept {
  readonly entry: Omit<NextCacheEntry, "value">;
  readonly chunks: readonly Uint8Array[];
}

/** A page, a route or a `fetch`. */
interface KeptValue extends Kept {
  readonly value: any;
  readonly lastModified: number;
  readonly cacheControl: NextCacheControl | undefined;
}

/** An old value that was served while it is rendered again. Others may be made of it. */
interface StaleServing {
  readonly key: string;
  readonly monotonic: number;
  readonly since: number;
  readonly fence: Fence;
  readonly tags: readonly string[];
}

/** Both kinds of handlers in one: for `cacheHandler` as a class, and for `cacheHandlers` as an object. */
export interface NextHandler extends UseCacheHandler {
  new (context?: unknown): IncrementalCacheHandler;
  /** Ends the connection. From the bound on, nothing is served any more. */
  close(): void;
}

/**
 * Makes the handler for `cacheHandler` and `cacheHandlers` in `next.config`: the default export of a file that both name.
 *
 * It connects when Next.js loads it, and not during `next build`.
 */
export function createNextHandler({ maxBytes = MAX_BYTES, ...options }: NextHandlerOptions): NextHandler {
  const isBuild = nodeEnvironment()["NEXT_PHASE"] === "phase-production-build";
  // What a build renders is for itself: no invalidation comes meanwhile that anybody could hear.
  const coherence = isBuild ? undefined : new NextCoherence(options);
  const entries = new Memory<KeptEntry>(maxBytes / 2);
  const values = new Memory<KeptValue>(maxBytes / 2);
  /** By key: the last `set` that is under way. */
  const settings = new Map<string, Promise<void>>();
  let staleServings: StaleServing[] = [];

  /** Whether something that is kept may be served, also for the tags that Next.js names only now. `isPart`: others may have it inside. */
  async function judge(key: string, kept: Kept, further: readonly string[], isPart: boolean): Promise<Verdict> {
    const verdict = coherence === undefined ? "fresh" : await coherence.judge(kept.fence, [...kept.tags, ...further.map(busTag)]);
    if (verdict !== "stale") return verdict;
    const monotonic = performance.now();
    const since = (kept.staleSince ??= monotonic);
    if (isPart && monotonic - since < MAX_STALE_MS) staleServings.push({ key, monotonic, since, fence: kept.fence, tags: kept.tags });
    if (staleServings.length > 2 * MAX_STALE_SERVINGS) staleServings = staleServings.slice(-MAX_STALE_SERVINGS);
    return verdict;
  }

  /**
   * The fence of what is stored now. `undefined` if it must not be stored. What was made of an old value is as old as that:
   * Next.js hands the tags of an inner entry to the outer one.
   */
  function fenceOf(key: string, began: Fence, tags: readonly string[], former: Kept | undefined): Pick<Kept, "fence" | "staleSince"> | undefined {
    if (coherence?.log.isHeld(began, tags)) return undefined;
    const names = new Set(tags);
    let found: Pick<Kept, "fence" | "staleSince"> = { fence: began, staleSince: undefined };
    for (const serving of staleServings) {
      const isInside = serving.key !== key && serving.monotonic >= began.monotonic && serving.tags.every((tag) => names.has(tag));
      if (isInside && serving.fence.number < found.fence.number) found = { fence: serving.fence, staleSince: serving.since };
    }
    // One that began later is there already.
    return former !== undefined && former.fence.number > found.fence.number && former.staleSince === undefined ? undefined : found;
  }

  async function storeEntry(key: string, pending: Promise<NextCacheEntry>): Promise<void> {
    const { value, ...entry } = await pending;
    const chunks = await drain(value);
    const tags = entry.tags.map(busTag);
    const began = coherence === undefined ? NO_FENCE : coherence.log.fenceAt(entry.timestamp - performance.timeOrigin);
    const found = began && fenceOf(key, began, tags, entries.get(key));
    if (found === undefined) return;
    entries.set(key, { entry, chunks, ...found, tags, size: sizeOf(chunks) + sizeOf(entry.tags) + sizeOf(key) });
  }

  return class Handler implements IncrementalCacheHandler {
    // For `"use cache"`

    static async get(key: string, softTags: readonly string[]): Promise<NextCacheEntry | undefined> {
      await settings.get(key);
      const kept = entries.get(key);
      if (kept === undefined) return undefined;
      const verdict = await judge(key, kept, softTags, true);
      if (verdict === "gone") return undefined;
      const { entry, chunks } = kept;
      return { ...entry, ...(verdict === "stale" && { revalidate: -1 }), value: streamOf(chunks) };
    }

    static async set(key: string, pending: Promise<NextCacheEntry>): Promise<void> {
      // A rendering that fails is not stored.
      const setting = storeEntry(key, pending).catch(() => {});
      settings.set(key, setting);
      await setting;
      if (settings.get(key) === setting) settings.delete(key);
    }

    static async refreshTags(): Promise<void> {
      await coherence?.refresh();
    }

    /** The tags of paths come to `get`. */
    static async getExpiration(): Promise<number> {
      return Infinity;
    }

    static async updateTags(tags: readonly string[], durations?: { expire?: number }): Promise<void> {
      await coherence?.invalidate(tags, durations?.expire);
    }

    static close(): void {
      coherence?.close();
    }

    // For pages, routes, `fetch` and `unstable_cache`

    /** By key: when this request began to read it. */
    readonly #fences = new Map<string, Fence>();

    async get(key: string, context: NextCacheContext = {}): Promise<NextCacheValue | null> {
      this.#begin(key);
      const kept = values.get(key);
      if (kept === undefined) return null;
      const verdict = await judge(key, kept, [...(context.tags ?? []), ...(context.softTags ?? [])], kept.value.kind === "FETCH");
      if (verdict === "gone") return null;
      return verdict === "fresh" ? valueOf(kept) : staleValueOf(kept);
    }

    async set(key: string, value: any, context: NextCacheContext = {}): Promise<void> {
      const former = values.get(key);
      // When a page fails to render, Next.js stores the old one again.
      const again = former?.value === value ? former?.fence : undefined;
      const began = coherence === undefined ? NO_FENCE : (again ?? this.#fences.get(key));
      this.#fences.delete(key);
      if (value === null) return values.delete(key);
      const tags = tagsOf(value, context).map(busTag);
      const found = began && fenceOf(key, began, tags, former);
      if (found === undefined) return;
      const { cacheControl } = context;
      values.set(key, { value, cacheControl, ...found, tags, lastModified: Date.now(), size: sizeOf(value) + sizeOf(key) });
    }

    async revalidateTag(tags: string | readonly string[], durations?: { expire?: number }): Promise<void> {
      await coherence?.invalidate([tags].flat(), durations?.expire);
    }

    resetRequestCache(): void {}

    /** Remembers when a key was first read, since what is rendered for it may begin then. */
    #begin(key: string): void {
      const fence = coherence?.log.fence();
      const former = this.#fences.get(key);
      if (fence === undefined || (former !== undefined && fence.monotonic - former.monotonic < MAX_FENCE_AGE_MS)) return;
      this.#fences.delete(key);
      this.#fences.set(key, fence);
      if (this.#fences.size > MAX_FENCES) this.#fences.delete(this.#fences.keys().next().value!);
    }
  };
}

/** A value as it is. */
function valueOf({ value, lastModified, cacheControl }: KeptValue): NextCacheValue {
  return { value, lastModified, ...(cacheControl && { cacheControl }) };
}

/** The same so that Next.js serves it, and renders it again. It does so if the time is over in which the value is fresh. */
function staleValueOf({ value, lastModified, cacheControl }: KeptValue): NextCacheValue {
  // The time for which a `fetch` is fresh is that of the caller, and may be more than a hundred years.
  if (value?.kind === "FETCH") return { value, lastModified: LONG_AGO };
  const expire = cacheControl?.expire;
  return {
    value,
    lastModified: Math.min(lastModified, Date.now() - 1_001),
    cacheControl: { revalidate: 1, ...(expire !== undefined && { expire }) },
  };
}

/** During a build. */
const NO_FENCE: Fence = { number: 0, monotonic: 0 };

/** The environment of the process. Not the global of Node itself: the package has no types of Node. */
function nodeEnvironment(): Record<string, string | undefined> {
  return (globalThis as { process?: { env: Record<string, string | undefined> } }).process?.env ?? {};
}

/** The tags of a value: those of the call for a `fetch`, and those in a header for what was rendered. */
function tagsOf(value: any, { tags = [] }: NextCacheContext): readonly string[] {
  const header: unknown = value.headers?.["x-next-cache-tags"];
  const named = typeof header === "string" ? header.split(",") : [];
  return [...new Set([...tags, ...(value.tags ?? []), ...named].filter(Boolean))];
}

/** All of a stream. Throws if the stream has failed. */
async function drain(stream: ReadableStream<Uint8Array>): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  const reader = stream.getReader();
  for (let read; !(read = await reader.read()).done; ) chunks.push(read.value);
  return chunks;
}

/** A new stream of what was kept. */
function streamOf(chunks: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  let index = 0;
  return new ReadableStream({
    pull(controller) {
      // A copy: the reader of the stream may transfer its memory.
      if (index < chunks.length) controller.enqueue(chunks[index++]!.slice());
      else controller.close();
    },
  });
}
