// The cache beside a naive model, which keeps the whole history and looks at all of it for each read. Thousands of random schedules.

import { expect, test } from "vitest";

import { Core, View } from "../../src/cache/cache.js";
import type { CacheBus, Invalidation } from "../../src/cache/source.js";
import { seeded } from "./simulation.js";
import { FakeSource, settle, VirtualEnvironment } from "./virtual.js";

const FIRST = Number(process.env["TIDINGS_SEED"] ?? 1 + (Date.now() % 1_000_000));
const SCHEDULES = Number(process.env["TIDINGS_SCHEDULES"] ?? 1_000);
const BOUND_MS = 2_000;

interface Applied {
  readonly number: number;
  readonly at: number;
  readonly what: Invalidation;
}

interface Hold {
  readonly what: Invalidation;
  readonly until: number;
  readonly holder: string;
}

interface Stored {
  readonly value: number;
  readonly tags: readonly string[];
  readonly loadedAt: number;
  readonly fence: number;
  readonly expiresAt: number;
}

/** Everything that ever happened, and what may be served by it. */
class Model {
  readonly history: Applied[] = [];
  readonly stored = new Map<string, Stored>();
  holds: Hold[] = [];
  number = 0;
  provenAt = 0;

  /** `id` and `cause` as in the event. */
  invalidate(what: Invalidation, at: number, id: string, cause: string | undefined): void {
    this.history.push({ number: ++this.number, at, what });
    if (what.holdMs) this.holds.push({ what, until: at + what.holdMs, holder: cause ?? id });
    else if (cause) this.holds = this.holds.filter(({ holder }) => holder !== cause);
  }

  lose(at: number): void {
    this.history.push({ number: ++this.number, at, what: { prefixes: [""] } });
  }

  static matches({ tags = [], keys = [], prefixes = [] }: Invalidation, key: string, of: readonly string[]): boolean {
    return keys.includes(key) || tags.some((tag) => of.includes(tag)) || prefixes.some((prefix) => key.startsWith(prefix));
  }

  after(fence: number, key: string, tags: readonly string[]): Applied[] {
    return this.history.filter(({ number, what }) => number > fence && Model.matches(what, key, tags));
  }

  mayServe(key: string, now: number): { value: number; isSoft: boolean } | undefined {
    const entry = this.stored.get(key);
    if (entry === undefined || now >= entry.expiresAt || now - Math.max(entry.loadedAt, this.provenAt) > BOUND_MS) return undefined;
    const hits = this.after(entry.fence, key, entry.tags);
    if (hits.some(({ what, at }) => now >= at + (what.staleForMs ?? 0))) return undefined;
    return { value: entry.value, isSoft: hits.length > 0 };
  }
}

async function schedule(seed: number): Promise<number> {
  const random = seeded(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <Item>(items: readonly Item[]): Item => items[below(items.length)]!;
  const environment = new VirtualEnvironment();
  const source = new FakeSource();
  const core = new Core({ bus: undefined as unknown as CacheBus, ttl: 5_000, jitter: 0, bound: BOUND_MS, maxEntries: 100 }, { source, environment });
  const cache = new View(core, "");
  await settle();
  const model = new Model();
  model.provenAt = environment.clock.now();
  source.syncs = "silent";
  const KEYS = ["a:1", "a:2", "b:1"];
  const TAGS = ["t", "u", "v"];
  const some = (items: readonly string[]) => items.filter(() => below(3) === 0);
  const loads: { end: () => Promise<void> }[] = [];
  const holders: { id: string; what: Invalidation }[] = [];
  let [values, served] = [0, 0];

  const begin = async (key: string) => {
    // Each load is a leader: what joins is in the cases.
    if (core.flights.get(key)) return;
    const now = environment.clock.now();
    const early = some(TAGS);
    const late = some(TAGS);
    const fence = model.number;
    const value = ++values;
    let finish!: () => void;
    const loading = new Promise<void>((resolve) => (finish = resolve));
    const before = core.reports.count.loads;
    const done = cache.getOrSet(key, async (context) => (await loading, context.tag(...late), value), { tags: early, bound: 1e9 });
    if (core.reports.count.loads === before) return void (await done);
    loads.push({
      async end() {
        finish();
        await done;
        const tags = [...new Set([...early, ...late])];
        const isHeld = model.holds.some(({ what, until }) => until > now && Model.matches(what, key, tags));
        if (model.after(fence, key, tags).length > 0 || isHeld) return;
        model.stored.set(key, { value, tags, loadedAt: now, fence, expiresAt: environment.clock.now() + 5_000 });
      },
    });
  };

  for (let step = 0; step < 60; step++) {
    const choice = below(12);
    const now = environment.clock.now();
    if (choice < 4) {
      await begin(pick(KEYS));
    } else if (choice < 6) {
      await loads.splice(below(loads.length), 1)[0]?.end();
    } else if (choice < 9) {
      const prefixes = below(6) === 0 ? [pick(["a:", "b"])] : [];
      const what: Invalidation = { tags: some(TAGS), keys: some(KEYS), prefixes, ...(below(3) === 0 && { staleForMs: 500 + below(1_500) }) };
      const kind = below(6);
      const id = `i${step}`;
      const held = kind === 0 ? { ...what, holdMs: 100 + below(2_000) } : what;
      const holder = kind === 1 ? holders.pop() : undefined;
      if (kind === 0) holders.push({ id, what });
      source.invalidate(holder?.what ?? held, id, holder?.id);
      model.invalidate(holder?.what ?? held, now, id, holder?.id);
    } else if (choice < 10 && below(4) === 0) {
      if (below(2) === 0) source.lose(1 + below(3));
      else source.begin(`e${step}`);
      model.lose(now);
    } else if (choice < 11 && below(2) === 0 && source.outstanding > 0) {
      const { sentAt } = { sentAt: lastSent };
      source.answer();
      await settle();
      model.provenAt = Math.max(model.provenAt, sentAt);
    } else {
      await environment.advance(below(900));
    }
    const at = environment.clock.now();
    for (const key of KEYS) {
      const before = source.outstanding;
      const found = cache.peek<number>(key);
      if (source.outstanding > before) lastSent = at;
      const wanted = model.mayServe(key, at);
      if (found !== undefined) served++;
      const context = `TIDINGS_SEED=${seed}, step ${step}, ${key}`;
      if (found !== undefined) expect(found, context).toBe(wanted?.value);
      // After several invalidations that allow some time, the cache may be harder than it has to be.
      else if (wanted !== undefined && !wanted.isSoft) expect(found, context).toBe(wanted.value);
    }
  }
  await cache.close();
  return served;
}

/** When the outstanding sync was sent. */
let lastSent = 0;

test(`the cache serves what the model serves, in ${SCHEDULES} schedules from seed ${FIRST} on`, { timeout: 600_000 }, async () => {
  let served = 0;
  for (let seed = FIRST; seed < FIRST + SCHEDULES; seed++) served += await schedule(seed);
  expect(served / SCHEDULES).toBeGreaterThan(5);
  console.log(`${SCHEDULES} schedules from seed ${FIRST} on: ${served} hits`);
});
