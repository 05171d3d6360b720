// What the near cache costs, beside lru-cache and, if it is installed (`npm install --no-save bentocache@1.6.1`), bentocache.
//
//   npm run build && node --expose-gc bench/cache.mjs
//
// Compare the ratios of one run: the times themselves are those of the machine and of the moment. Each figure is the median of the
// rounds, and the least and the greatest of them.

import { LRUCache } from "lru-cache";

import { createCache } from "../dist/cache.js";

/** A bus that answers at once, and gives the cache's handler to the program. */
function fakeBus() {
  let head = 0;
  const positions = new WeakMap();
  let handler;
  return {
    state: { status: "open" },
    on: (_name, _options, on) => ((handler = on), () => {}),
    onGap: () => () => {},
    positionOf: (event) => positions.get(event),
    sync: async () => new Map([["cache-invalidate", `e:${head}`]]),
    publish: async () => ({ position: `e:${++head}` }),
    invalidate(data) {
      const event = { id: String(++head) };
      positions.set(event, `e:${head}`);
      handler(data, event);
    },
  };
}

async function open(options = {}) {
  const bus = fakeBus();
  const cache = createCache({ bus, ttl: "1h", maxEntries: 200_000, ...options });
  await new Promise((resolve) => setTimeout(resolve, 10));
  return { bus, cache };
}

const KEYS = Array.from({ length: 10_000 }, (_, index) => `product:${index}`);
const ROUNDS = 15;

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Nanoseconds for one call of each function, by round. They take turns, so that what slows down the machine hits all of them. */
async function compare(functions, calls) {
  const times = functions.map(() => []);
  for (let round = 0; round < ROUNDS + 2; round++) {
    for (const [index, run] of functions.entries()) {
      const start = process.hrtime.bigint();
      await run(calls);
      if (round >= 2) times[index].push(Number(process.hrtime.bigint() - start) / calls);
    }
    // Lets timers and syncs run, as between requests.
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return times;
}

const report = (name, value) => console.log(name.padEnd(62), value);
const spread = (values, digits) => `${median(values).toFixed(digits)} (${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)})`;
const nanoseconds = (times) => `${spread(times, 0)} ns`;
/** The ratio of two functions, round by round. */
const ratio = (ones, others) => spread(ones.map((one, round) => one / others[round]), 2);

{
  const { cache } = await open();
  const lru = new LRUCache({ max: 200_000, ttl: 3_600_000, ttlResolution: 0 });
  for (const key of KEYS) {
    await cache.getOrSet(key, () => ({ key }), { tags: [key, "products"] });
    lru.set(key, { key });
  }
  let found = 0;
  const reading = (get) => (calls) => {
    for (let call = 0, index = 0; call < calls; call++, index = (index + 7_919) % KEYS.length) if (get(KEYS[index]) !== undefined) found++;
  };
  const [peek, get] = await compare([reading((key) => cache.peek(key)), reading((key) => lru.get(key))], 300_000);
  report("peek", nanoseconds(peek));
  report("lru-cache get, with ttl, reading the clock each time", nanoseconds(get));
  report("ratio (wanted: at most 1.5)", ratio(peek, get));

  const load = () => ({});
  const options = { tags: ["products"] };
  const hits = [async (calls) => {
    for (let call = 0, index = 0; call < calls; call++, index = (index + 7_919) % KEYS.length) await cache.getOrSet(KEYS[index], load, options);
  }, async (calls) => {
    for (let call = 0, index = 0; call < calls; call++, index = (index + 7_919) % KEYS.length) await lru.fetch(KEYS[index]);
  }];
  const bento = await import("bentocache").catch(() => undefined);
  if (bento) {
    const { memoryDriver } = await import("bentocache/drivers/memory");
    const other = new bento.BentoCache({ default: "m", stores: { m: bento.bentostore().useL1Layer(memoryDriver({ maxItems: 200_000 })) } });
    for (const key of KEYS) await other.set({ key, value: { key }, ttl: "1h" });
    hits.push(async (calls) => {
      for (let call = 0, index = 0; call < calls; call++, index = (index + 7_919) % KEYS.length) await other.getOrSet({ key: KEYS[index], factory: load, ttl: "1h" });
    });
  }
  const [ours, fetched, theirs] = await compare(hits, 50_000);
  report("getOrSet, a hit", nanoseconds(ours));
  report("lru-cache fetch, a hit", nanoseconds(fetched));
  report("ratio", ratio(ours, fetched));
  report("bentocache getOrSet, a hit in memory", theirs === undefined ? "not installed" : nanoseconds(theirs));
  if (theirs) report("ratio", ratio(ours, theirs));
  if (found === 0) throw new Error("no hit");
}

{
  const { bus, cache } = await open();
  for (let index = 0; index < 100_000; index++) await cache.getOrSet(`many:${index}`, () => index, { tags: ["many"] });
  await cache.getOrSet("one", () => 1, { tags: ["one"] });
  const invalidating = (tag) => (calls) => {
    for (let call = 0; call < calls; call++) bus.invalidate({ tags: [tag] });
  };
  const [many, one] = await compare([invalidating("many"), invalidating("one")], 20_000);
  report("invalidating a tag of 100,000 entries", nanoseconds(many));
  report("invalidating a tag of one entry", nanoseconds(one));
  report("ratio (wanted: at most 10)", ratio(many, one));
}

for (const [name, options] of [["stored and invalidated", {}], ["invalidated, with L2", { l2: { get: async () => undefined, set: async () => {} } }]]) {
  const { bus, cache } = await open({ maxEntries: 1_000, ...options });
  const heap = () => (globalThis.gc?.(), process.memoryUsage().heapUsed / 2 ** 20);
  const measured = [];
  for (let tag = 0; tag < 10_000_000; tag++) {
    bus.invalidate({ tags: [`tag:${tag}`] });
    if (tag % 10 === 0 && name.startsWith("stored")) await cache.getOrSet(`key:${tag}`, () => tag, { tags: [`tag:${tag}`, `other:${tag}`] });
    if (tag % 1_000_000 === 999_999) measured.push(heap());
  }
  report(`heap after each million of distinct tags, ${name}, in MiB`, measured.map((size) => size.toFixed(0)).join(" "));
}
process.exit(0);
