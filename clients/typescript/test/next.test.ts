// The cache handlers for Next.js with the real daemon: what a whole application does not do on demand. `tests/next` has that.

import { afterEach, expect, onTestFinished, test, vi } from "vitest";

import { connect } from "../src/index.js";
import { createNextHandler, type NextCacheEntry, type NextHandler, type NextHandlerOptions } from "../src/next/index.js";
import { Memory, sizeOf } from "../src/next/memory.js";
import { busTag } from "../src/next/coherence.js";
import { Daemon } from "./daemon.js";
import { Proxy } from "./proxy.js";

const started: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of started.splice(0).reverse()) await end();
});

async function startDaemon(port = 0): Promise<Daemon> {
  const daemon = await Daemon.start([], port);
  started.push(() => daemon.kill());
  return daemon;
}

/** A handler whose subscription has begun: what is stored from now on stays. */
async function startHandler(daemon: Daemon, options: Partial<NextHandlerOptions> = {}): Promise<NextHandler> {
  const handler = createNextHandler({ url: daemon.url, backoff: { minMs: 10, maxMs: 50 }, onError: () => {}, ...options });
  started.push(() => handler.close());
  await isCaching(handler);
  return handler;
}

/** Waits until a handler has a new proof: until what it stores is served for longer than the bound. */
async function isCaching(handler: NextHandler): Promise<void> {
  await expect.poll(async () => {
    await handler.refreshTags();
    // From so long ago that it is not its own proof.
    await handler.set("proof", Promise.resolve(entry("yes", [], now() - 2_050)));
    return text(await handler.get("proof", []));
  }).toBe("yes");
}

const now = () => performance.timeOrigin + performance.now();

function entry(content: string, tags: string[], timestamp = now()): NextCacheEntry {
  return { value: new Response(content).body!, tags, timestamp, stale: 300, revalidate: 3_600, expire: 7_200 };
}

async function text(entry: NextCacheEntry | undefined): Promise<string | undefined> {
  return entry && new Response(entry.value).text();
}

const invalidate = (daemon: Daemon, data: object) => daemon.publish([{ type: "cache-invalidate", data }]);
const read = async (handler: NextHandler, key: string, softTags: string[] = []) => text(await handler.get(key, softTags));
const page = (html: string, tags: string) => ({ kind: "APP_PAGE", html, headers: { "x-next-cache-tags": tags } });

test("an entry is served as often as it is asked for, until one of its tags or of its paths is invalidated", async () => {
  const daemon = await startDaemon();
  const handler = await startHandler(daemon);
  await handler.set("a", Promise.resolve(entry("one", ["products"])));
  expect([await read(handler, "a"), await read(handler, "a")]).toEqual(["one", "one"]);
  await invalidate(daemon, { tags: ["orders", "_N_T_/orders"] });
  await invalidate(daemon, { tags: ["products"] });
  await expect.poll(() => read(handler, "a")).toBeUndefined();
  await handler.set("a", Promise.resolve(entry("two", ["products"])));
  expect(await read(handler, "a", ["_N_T_/products"])).toBe("two");
  await invalidate(daemon, { tags: ["_N_T_/products"] });
  await expect.poll(() => read(handler, "a", ["_N_T_/products"])).toBeUndefined();
  // The tag of the path is not one of the entry.
  expect(await read(handler, "a", ["_N_T_/other"])).toBe("two");
});

test("what began to be rendered before an invalidation is not served after it", async () => {
  const daemon = await startDaemon();
  const handler = await startHandler(daemon);
  const began = now();
  await handler.set("witness", Promise.resolve(entry("one", ["products"])));
  const request = new handler();
  expect(await request.get("/page")).toBeNull();
  await invalidate(daemon, { tags: ["products"] });
  await expect.poll(() => read(handler, "witness")).toBeUndefined();
  await handler.set("a", Promise.resolve(entry("old", ["products"], began)));
  await request.set("/page", page("old", "products"));
  expect([await read(handler, "a"), await request.get("/page")]).toEqual([undefined, null]);
  // What begins now is.
  await handler.set("a", Promise.resolve(entry("new", ["products"])));
  expect(await read(handler, "a")).toBe("new");
});

test("an invalidation of this process is applied at once, published once, and does not drop what is rendered after it", async () => {
  const daemon = await startDaemon();
  const handler = await startHandler(daemon);
  const bus = connect(daemon.url);
  started.push(() => bus.close());
  const seen: unknown[] = [];
  bus.on("cache-invalidate", (data) => seen.push(data));
  await bus.ready();
  await handler.set("a", Promise.resolve(entry("one", ["products"])));
  // As Next.js does: each handler in the same turn.
  const published = [handler.updateTags(["products"]), new handler().revalidateTag(["products"])];
  expect(await read(handler, "a")).toBeUndefined();
  await handler.set("a", Promise.resolve(entry("two", ["products"])));
  await Promise.all(published);
  await bus.sync();
  await handler.refreshTags();
  expect(await read(handler, "a")).toBe("two");
  await handler.updateTags(["products"], { expire: 60 });
  await bus.sync();
  expect(seen).toEqual([{ tags: ["products"], reason: "next" }, { tags: ["products"], staleForMs: 60_000, reason: "next" }]);
});

test("an old value is served for as long as the invalidation says, and Next.js is told to render it again", async () => {
  const daemon = await startDaemon();
  const handler = await startHandler(daemon);
  await handler.set("a", Promise.resolve(entry("one", ["products"])));
  const request = new handler();
  for (const [key, value] of [["/page", page("one", "products,_N_T_/page")], ["fetch", { kind: "FETCH", data: {}, revalidate: 4_294_967_294 }]] as const) {
    await request.get(key, { tags: ["products"] });
    await request.set(key, value, { tags: ["products"], cacheControl: { revalidate: 3_600, expire: 7_200 } });
  }
  expect(await request.get("/page")).toMatchObject({ cacheControl: { revalidate: 3_600, expire: 7_200 } });
  await invalidate(daemon, { tags: ["products"], staleForMs: 1_000 });
  await expect.poll(async () => (await handler.get("a", []))?.revalidate).toBe(-1);
  const stale = (await request.get("/page"))!;
  expect(stale.cacheControl).toEqual({ revalidate: 1, expire: 7_200 });
  expect(stale.lastModified + 1_000).toBeLessThan(Date.now());
  const { lastModified } = (await request.get("fetch", { tags: ["products"] }))!;
  expect((Date.now() - lastModified) / 1_000).toBeGreaterThan(4_294_967_294);
  await expect.poll(async () => [await handler.get("a", []), await request.get("/page")]).toEqual([undefined, null]);
});

test("what was rendered again in place of an old value is fresh", async () => {
  const daemon = await startDaemon();
  const handler = await startHandler(daemon);
  const store = async (html: string) => {
    const request = new handler();
    await request.get("/page");
    await request.get("fetch", { tags: ["products"] });
    await request.set("/page", page(html, "products"), { cacheControl: { revalidate: 3_600 } });
    await request.set("fetch", { kind: "FETCH", data: html, revalidate: 60 }, { tags: ["products"] });
    return [(await request.get("/page"))?.cacheControl?.revalidate, (await request.get("fetch"))?.lastModified];
  };
  expect(await store("one")).toEqual([3_600, expect.any(Number)]);
  await invalidate(daemon, { tags: ["products"], staleForMs: 60_000 });
  await expect.poll(async () => (await new handler().get("/page"))?.cacheControl?.revalidate).toBe(1);
  // The page was made of the old `fetch`, which is fresh from now on.
  expect(await store("two")).toEqual([1, expect.toSatisfy((time: number) => time > 0)]);
  expect(await store("three")).toEqual([3_600, expect.toSatisfy((time: number) => time > 0)]);
});

test("what is made of an old value is as old, and an old page that is stored again stays old", async () => {
  const daemon = await startDaemon();
  const handler = await startHandler(daemon);
  await handler.set("inner", Promise.resolve(entry("one", ["products"])));
  const request = new handler();
  await request.get("/page");
  await request.set("/page", page("one", "products"));
  await invalidate(daemon, { tags: ["products"], staleForMs: 60_000 });
  await expect.poll(async () => (await handler.get("inner", []))?.revalidate).toBe(-1);
  // The outer one begins, gets the inner one, and has its tags.
  const began = now();
  await handler.get("inner", []);
  await handler.set("outer", Promise.resolve(entry("made of one", ["products", "page"], began)));
  expect(await handler.get("outer", [])).toMatchObject({ revalidate: -1 });
  // Next.js does that when a page fails to render.
  const again = new handler();
  const { value } = (await again.get("/page"))!;
  await again.set("/page", value, { cacheControl: { revalidate: 3 } });
  expect(await again.get("/page")).toMatchObject({ cacheControl: { revalidate: 1 } });
});

test("without the daemon nothing is served beyond the bound, a call fails, and afterwards nothing old is left", async () => {
  const daemon = await startDaemon();
  const proxy = await Proxy.before(daemon.port);
  started.push(() => proxy.stop());
  const handler = await startHandler(daemon, { url: proxy.url, bound: 1_000, retryTimeoutMs: 0 });
  await handler.set("a", Promise.resolve(entry("one", ["products"])));
  await handler.set("b", Promise.resolve(entry("one", ["orders"])));
  await handler.set("e", Promise.resolve(entry("one", ["others"])));
  proxy.close();
  await expect.poll(() => read(handler, "a")).toBeUndefined();
  // What is rendered now is served for as long as the bound.
  await handler.set("c", Promise.resolve(entry("fresh", ["products"])));
  expect(await read(handler, "c")).toBe("fresh");
  await expect(handler.updateTags(["products"])).rejects.toMatchObject({ code: "network" });
  await invalidate(daemon, { tags: ["orders"] });
  proxy.mend();
  await isCaching(handler);
  // Only what nobody named is still right. The invalidation that failed holds here all the same.
  expect([await read(handler, "a"), await read(handler, "b"), await read(handler, "e")]).toEqual([undefined, undefined, "one"]);
});

test("a lost log drops everything", async () => {
  const daemon = await startDaemon();
  const handler = await startHandler(daemon);
  await handler.set("a", Promise.resolve(entry("one", ["products"])));
  const { port } = daemon;
  await daemon.kill();
  await startDaemon(port);
  await expect.poll(() => read(handler, "a")).toBeUndefined();
  await handler.set("a", Promise.resolve(entry("two", ["products"])));
  expect(await read(handler, "a")).toBe("two");
});

test("a rendering that fails, and one during a hold, is not stored", async () => {
  const daemon = await startDaemon();
  const handler = await startHandler(daemon);
  const failing = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(new Uint8Array(1)), pull: (controller) => controller.error(new Error("no")) });
  await handler.set("a", Promise.resolve({ ...entry("", []), value: failing }));
  await handler.set("b", Promise.reject(new Error("no")));
  expect([await read(handler, "a"), await read(handler, "b")]).toEqual([undefined, undefined]);
  await handler.set("witness", Promise.resolve(entry("one", ["products"])));
  await invalidate(daemon, { tags: ["products"], holdMs: 60_000 });
  await expect.poll(() => read(handler, "witness")).toBeUndefined();
  await handler.set("c", Promise.resolve(entry("from before the commit", ["products"])));
  expect(await read(handler, "c")).toBeUndefined();
});

test("a get waits for a set of the same key that is under way", async () => {
  const daemon = await startDaemon();
  const handler = await startHandler(daemon);
  let finish = (_entry: NextCacheEntry) => {};
  void handler.set("a", new Promise((resolve) => (finish = resolve)));
  const reading = read(handler, "a");
  finish(entry("one", []));
  expect(await reading).toBe("one");
});

test("next build opens no connection, and caches for itself", async () => {
  vi.stubEnv("NEXT_PHASE", "phase-production-build");
  onTestFinished(() => void vi.unstubAllEnvs());
  const handler = createNextHandler({ url: "http://127.0.0.1:1", WebSocket: class { constructor() { throw new Error("no"); } } as never });
  await handler.set("a", Promise.resolve(entry("one", ["products"])));
  await handler.refreshTags();
  await handler.updateTags(["products"]);
  const request = new handler();
  await request.set("/page", page("one", "products"));
  expect([await read(handler, "a"), (await request.get("/page"))?.value.html]).toEqual(["one", "one"]);
});

test("the memory keeps what was used last, within its bytes", () => {
  const memory = new Memory<{ size: number }>(100);
  for (const key of ["a", "b", "c"]) memory.set(key, { size: 40 });
  expect(["a", "b", "c"].map((key) => memory.get(key)?.size)).toEqual([undefined, 40, 40]);
  memory.get("b");
  memory.set("d", { size: 40 });
  expect(["b", "c", "d"].map((key) => memory.get(key)?.size)).toEqual([40, undefined, 40]);
  memory.set("d", { size: 101 });
  expect(memory.get("d")).toBeUndefined();
  expect(sizeOf({ html: "ab", segments: new Map([["a", new Uint8Array(100)]]) })).toBeGreaterThanOrEqual(106);
});

test("a tag that is too long for the bus is shortened, and others stay", () => {
  const long = `_N_T_/${"a".repeat(600)}`;
  expect(busTag("products")).toBe("products");
  expect(busTag(long)).toHaveLength(256);
  expect(busTag(`${long}/page`)).not.toBe(busTag(`${long}/layout`));
});
