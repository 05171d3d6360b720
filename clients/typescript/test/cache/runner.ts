// Runs the cases of tests/cache/cases.json, which describes its steps at its top.

import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

import { Core, type Replaced, View } from "../../src/cache/cache.js";
import type { L2, L2Entry } from "../../src/cache/l2.js";
import type { CacheBus } from "../../src/cache/source.js";
import type { CacheOptions, GetOptions, LoadContext, PutOptions } from "../../src/cache/types.js";
import { FakeSource, settle, VirtualEnvironment } from "./virtual.js";

// The file is data of its own form.
type Json = any;

export interface Case {
  readonly name: string;
  readonly options?: Json;
  readonly unbegun?: boolean;
  readonly steps: readonly Json[];
}

export const CASES = (JSON.parse(readFileSync(new URL("../../../../tests/cache/cases.json", import.meta.url), "utf8")) as { cases: Case[] }).cases;

/** A second level in memory, as the cases describe it. */
export class MemoryL2 implements L2 {
  readonly entries = new Map<string, L2Entry>();
  readonly locks = new Map<string, string>();
  mode: "up" | "down" | "slow" = "up";

  async #reach(): Promise<void> {
    if (this.mode === "down") throw new Error("L2 is down");
    if (this.mode === "slow") await new Promise(() => {});
  }

  async get(key: string): Promise<L2Entry | undefined> {
    await this.#reach();
    return this.entries.get(key);
  }

  async set(key: string, entry: L2Entry): Promise<void> {
    await this.#reach();
    const [epoch, offset] = entry.fence.split(":");
    const [oldEpoch, oldOffset] = this.entries.get(key)?.fence.split(":") ?? [];
    if (oldEpoch !== epoch || Number(oldOffset) <= Number(offset)) this.entries.set(key, entry);
  }

  async lock(key: string, token: string): Promise<boolean> {
    await this.#reach();
    if (this.locks.has(key)) return false;
    this.locks.set(key, token);
    return true;
  }

  async extend(): Promise<void> {}

  async unlock(key: string, token: string): Promise<void> {
    if (this.locks.get(key) === token) this.locks.delete(key);
  }
}

interface PendingLoad {
  readonly context: LoadContext;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Changes parts of a cache, to plant a bug. */
export type Mutation = (parts: { source: FakeSource; environment: VirtualEnvironment }) => Replaced;

/** Runs a case. Throws at the first step whose expectation does not hold. */
export async function run({ options = {}, unbegun, steps }: Case, mutation?: Mutation, newEnvironment = () => new VirtualEnvironment()): Promise<void> {
  const environment = newEnvironment();
  const source = new FakeSource();
  if (unbegun) source.syncs = "silent";
  const l2 = options.l2 ? new MemoryL2() : undefined;
  const { l2: _, ...rest } = options;
  const all: CacheOptions = { bus: undefined as unknown as CacheBus, ttl: 60_000, jitter: 0, maxEntries: 100, ...rest, ...(l2 && { l2 }) };
  const core = new Core(all, { source, environment, ...mutation?.({ source, environment }) });
  const cache = new View(core, "");
  const loads = new Map<string, PendingLoad[]>();
  const counts = new Map<string, number>();
  const results = new Map<string, Json>();
  const waiting = new Map<string, (value?: unknown) => void>();
  await settle();

  const load = (key: string, step: Json) => (context: LoadContext<any, any>) => {
    counts.set(key, (counts.get(key) ?? 0) + 1);
    if ("value" in step) return step.value;
    if ("throws" in step) throw new Error(step.throws);
    return new Promise((resolve, reject) => {
      const pending = loads.get(key) ?? [];
      loads.set(key, [...pending, { context, resolve, reject }]);
    });
  };
  const keep = (name: string, promise: Promise<unknown>) => {
    results.set(name, { pending: true });
    promise.then((value) => results.set(name, { is: value }), (error: Error) => results.set(name, { throws: error.message }));
  };
  const next = (key: string): PendingLoad => {
    const pending = loads.get(key)?.shift();
    if (pending === undefined) throw new Error(`no load of ${key} is in progress`);
    return pending;
  };
  const expected = (step: Json) => ("is" in step ? { is: step.is } : "fails" in step ? { throws: step.fails } : undefined);
  const compare = (found: unknown, wanted: unknown) => {
    if (!isDeepStrictEqual(found, wanted)) throw new Error(`found ${JSON.stringify(found)}, expected ${JSON.stringify(wanted)}`);
  };

  const actions: Record<string, (step: Json) => unknown> = {
    advance: ({ advance }) => environment.advance(advance),
    clocks: ({ clocks }) => ((environment.mono += clocks.monotonic ?? 0), void (environment.wall += clocks.wall ?? 0)),
    random: ({ random }) => void (environment.next = () => random),
    invalidate: ({ invalidate, id, cause }) => source.invalidate(invalidate, id, cause),
    gap: ({ gap }) => source.lose(gap),
    epoch: ({ epoch }) => source.begin(epoch),
    bus: ({ bus }) => {
      source.isConnected = bus !== "disconnected";
      source.syncs = bus === "up" ? "answered" : bus === "failing" ? "failing" : "silent";
    },
    publications: ({ publications }) => void (source.publications = publications),
    answer: () => source.answer(),
    fail: () => source.fail(),
    deliver: () => source.deliver(),
    outstanding: ({ outstanding }) => compare(source.outstanding, outstanding),
    read: async (step) => {
      const { read, as = read, tags, tagsOf, ttl, absentTtl, staleWhileRevalidate, staleIfError, bound, lock } = step;
      const given = { ttl, absentTtl, staleWhileRevalidate, staleIfError, bound, lock, tags: tagsOf ? (value: Json) => value[tagsOf] : tags };
      keep(as, cache.getOrSet(read, load(read, step), given as GetOptions));
      await settle();
      const wanted = expected(step);
      if (wanted) compare(results.get(as), wanted);
    },
    loaded: ({ loaded, value, tags, ttl, skip }) => {
      const { context, resolve } = next(loaded);
      if (tags) context.tag(...tags);
      if (ttl !== undefined) context.ttl(ttl);
      if (skip) context.skip();
      resolve(value);
    },
    failed: ({ failed, message = "failed" }) => next(failed).reject(new Error(message)),
    result: (step) => compare(results.get(step.result), expected(step) ?? { pending: true }),
    peek: (step) => compare(cache.peek(step.peek), step.is),
    previous: (step) => compare(loads.get(step.previous)?.[0]?.context.previous, step.is),
    own: async (step) => {
      const as = step.as ?? "own";
      keep(as, cache.invalidate(step.own));
      await settle();
      const wanted = expected(step);
      if (wanted) compare(results.get(as), wanted);
    },
    put: ({ put, value, tags, ttl, as = "put" }) => {
      const save = () => new Promise<void>((resolve) => void waiting.set(as, () => resolve()));
      keep(as, cache.put(put, value, { save, tags, ttl } as PutOptions<unknown>));
    },
    mutate: ({ mutate, hold, as = "mutate" }) => {
      keep(as, cache.mutate(mutate, () => new Promise((resolve) => void waiting.set(as, resolve)), { hold }));
    },
    written: ({ written, value }) => waiting.get(written)!(value),
    reached: async ({ reached, timeout, as = "reached" }) => keep(as, cache.reached(reached, { timeout })),
    l2: (step) => {
      if (step.l2 === "set") l2!.entries.set(step.key, { value: step.value, tags: step.tags ?? [], fence: step.fence, ttlMs: step.ttl ?? 60_000 });
      else if (step.l2 === "holds") compare(l2!.entries.get(step.key)?.value, step.is);
      else if (step.l2 === "locked") l2!.locks.set(step.key, "other");
      else if (step.l2 === "unlocked") l2!.locks.delete(step.key);
      else l2!.mode = step.l2;
    },
    loads: ({ loads }) => {
      for (const [key, count] of Object.entries(loads)) compare({ [key]: counts.get(key) ?? 0 }, { [key]: count });
    },
    published: ({ published }) => compare(source.published.slice(-published.length).map(({ data }) => data), published),
    stats: ({ stats }) => {
      const found: Json = cache.stats();
      compare(Object.fromEntries(Object.keys(stats).map((name) => [name, found[name]])), stats);
    },
  };

  for (const [index, step] of steps.entries()) {
    const name = Object.keys(step)[0]!;
    const action = actions[name];
    if (action === undefined) throw new Error(`step ${index + 1}: there is no step ${name}`);
    try {
      await action(step);
      await settle();
    } catch (error) {
      throw new Error(`step ${index + 1}, ${JSON.stringify(step)}: ${(error as Error).message}`);
    }
  }
  await cache.close();
}
