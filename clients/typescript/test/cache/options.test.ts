// Options and calls of the cache that the shared cases do not have, with a real daemon: prefixes, sizes, copies, `wrap`, namespaces.

import { expect, test } from "vitest";

import { instance, startDaemon } from "./instance.js";

test("an invalidation by prefix drops the keys that begin with it, everywhere", async () => {
  const daemon = await startDaemon();
  const [a, b] = [await instance(daemon.url), await instance(daemon.url)];
  const keys = ["user:1:name", "user:1:mail", "user:10:name", "order:user:1:"];
  for (const key of keys) await b.cache.getOrSet(key, () => key, { bound: "1m" });
  const { position } = await a.cache.invalidate({ prefixes: ["user:1:"] });
  expect(await b.cache.reached(position)).toBe(true);
  let loads = 0;
  for (const key of keys) await b.cache.getOrSet(key, () => ++loads, { bound: "1m" });
  expect(loads).toBe(2);
  expect(b.cache.stats()).toMatchObject({ applied: 1, unmatched: 0 });
});

test("more than 1,000 different prefixes drop everything, and the same one again does not", async () => {
  const daemon = await startDaemon();
  const [a, b] = [await instance(daemon.url, { bound: "1m" }), await instance(daemon.url, { bound: "1m" })];
  const prefixes = (from: number, count: number) => Array.from({ length: count }, (_, index) => `p${from + index}:`);
  const invalidate = async (prefixes: readonly string[]) => {
    const { position } = await a.cache.invalidate({ prefixes });
    expect(await b.cache.reached(position)).toBe(true);
  };
  await b.cache.getOrSet("k", () => 1);
  for (let from = 0; from < 1_000; from += 250) await invalidate(prefixes(from, 250));
  for (let from = 0; from < 1_000; from += 250) await invalidate(prefixes(from, 250));
  expect(b.cache.peek("k")).toBe(1);
  await invalidate(prefixes(1_000, 1));
  expect(b.cache.peek("k")).toBeUndefined();
  // What is loaded after it is served, and the next prefixes count from the beginning.
  await b.cache.getOrSet("k", () => 2);
  await invalidate(prefixes(2_000, 1));
  expect(b.cache.peek("k")).toBe(2);
  await invalidate(["k"]);
  expect(b.cache.peek("k")).toBeUndefined();
});

test("maxBytes bounds what is stored, and what was read stays", async () => {
  const daemon = await startDaemon();
  const { cache } = await instance(daemon.url, { bound: "1m", maxBytes: 100, sizeOf: (value, key) => (value as string).length + key.length });
  const load = (key: string, size: number) => cache.getOrSet(key, () => "x".repeat(size - 1));
  const stored = () => ["a", "b", "c", "d", "e"].filter((key) => cache.peek(key) !== undefined);
  await load("a", 40);
  await load("b", 40);
  expect(cache.peek("a")).toHaveLength(39);
  await load("c", 40);
  expect(stored()).toEqual(["a", "c"]);
  // Another value of a key takes the place of the old one.
  await cache.invalidate({ keys: ["c"] });
  await load("c", 60);
  expect(stored()).toEqual(["a", "c"]);
  // One that is larger than the store is returned and displaces nothing.
  expect(await load("d", 101)).toHaveLength(100);
  expect(stored()).toEqual(["a", "c"]);
  expect(await load("e", 100)).toHaveLength(99);
  expect(stored()).toEqual(["e"]);
});

test("with clone, nobody changes what is stored", async () => {
  const daemon = await startDaemon();
  const shared = await instance(daemon.url, { bound: "1m" });
  const cloned = await instance(daemon.url, { bound: "1m", clone: true });
  const own = await instance(daemon.url, { bound: "1m", clone: (value) => JSON.parse(JSON.stringify(value)) });
  for (const [{ cache }, isShared] of [[shared, true], [cloned, false], [own, false]] as const) {
    const loaded = { list: [1] };
    const read = () => cache.getOrSet("k", () => loaded);
    const values = [await read(), await read(), cache.peek<typeof loaded>("k")!];
    expect(values).toEqual([loaded, loaded, loaded]);
    expect(values.map((value) => value === loaded)).toEqual([isShared, isShared, isShared]);
    for (const { list } of values) list.push(2);
    expect(await read()).toEqual({ list: isShared ? [1, 2, 2, 2] : [1] });
  }
});

test("wrap caches a function by its arguments, with tags of them", async () => {
  const daemon = await startDaemon();
  const [a, b] = [await instance(daemon.url, { bound: "1m" }), await instance(daemon.url, { bound: "1m" })];
  const calls: string[] = [];
  const search = async (shop: string, page: number) => (calls.push(`${shop} ${page}`), { shop, page });
  const byText = b.cache.wrap(search, { key: "search:", tags: (shop) => [`shop:${shop}`] });
  const byFunction = b.cache.wrap(search, { key: (shop) => `any:${shop}`, tags: ["searches"], ttl: "1m" });
  const [first, second] = await Promise.all([byText("x", 1), byText("x", 1)]);
  expect(first).toBe(second);
  expect(await byText("x", 2)).toEqual({ shop: "x", page: 2 });
  expect(await byText("y", 1)).toEqual({ shop: "y", page: 1 });
  expect([await byFunction("x", 1), await byFunction("x", 2)]).toEqual([{ shop: "x", page: 1 }, { shop: "x", page: 1 }]);
  expect(calls.splice(0)).toEqual(["x 1", "x 2", "y 1", "x 1"]);
  expect(b.cache.peek('search:["x",1]')).toBe(first);
  const { position } = await a.cache.invalidate({ tags: ["shop:x"] });
  await b.cache.reached(position);
  for (const [shop, page] of [["x", 1], ["x", 2], ["y", 1]] as const) await byText(shop, page);
  await byFunction("x", 1);
  expect(calls.splice(0)).toEqual(["x 1", "x 2"]);
  // What it throws is thrown, and not kept.
  let fails = true;
  const failing = b.cache.wrap(async () => { if (fails) throw new Error("no"); return 1; }, { key: "failing" });
  await expect(failing()).rejects.toThrow("no");
  fails = false;
  expect(await failing()).toBe(1);
});

test("a namespace has keys of its own, and tags in common", async () => {
  const daemon = await startDaemon();
  const [a, b] = [await instance(daemon.url, { bound: "1m" }), await instance(daemon.url, { bound: "1m" })];
  const users = b.cache.namespace("user:");
  const mails = users.namespace("mail:");
  const caches = [b.cache, users, mails];
  const fill = () => Promise.all(caches.map((cache, index) => cache.getOrSet("k", ({ key }) => `${index} ${key}`, { tags: ["t"] })));
  const stored = () => caches.map((cache) => cache.peek("k") !== undefined);
  expect(await fill()).toEqual(["0 k", "1 user:k", "2 user:mail:k"]);
  expect(b.cache.peek("user:mail:k")).toBe("2 user:mail:k");
  // By key, here and from elsewhere.
  await users.invalidate({ keys: ["k"] });
  expect(stored()).toEqual([true, false, true]);
  await fill();
  let { position } = await a.cache.namespace("user:").invalidate({ keys: ["mail:k"] });
  await b.cache.reached(position);
  expect(stored()).toEqual([true, true, false]);
  // By prefix, and the empty one: all of this namespace and of those within it.
  await fill();
  await users.invalidate({ prefixes: ["ma"] });
  expect(stored()).toEqual([true, true, false]);
  await users.invalidate({ prefixes: [""] });
  expect(stored()).toEqual([true, false, false]);
  // By tag: all of them.
  await fill();
  ({ position } = await a.cache.invalidate({ tags: ["t"] }));
  await b.cache.reached(position);
  expect(stored()).toEqual([false, false, false]);
  // Writing through, and a hold.
  await mails.put("k", "put", { save: () => {} });
  await expect.poll(() => b.cache.peek("user:mail:k")).toBe("put");
  await users.mutate({ keys: ["mail:k"] }, async () => {
    expect(await mails.getOrSet("k", () => "held")).toBe("held");
    expect(mails.peek("k")).toBeUndefined();
  });
  // One cache: its counters are common, and closing it closes all.
  expect(mails.stats()).toEqual(b.cache.stats());
  await mails.close();
  await expect(b.cache.getOrSet("k", () => 1)).rejects.toMatchObject({ code: "closed" });
});
