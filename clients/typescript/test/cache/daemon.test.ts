// The cache with the real daemon and real Redis servers: several instances, broken connections, and L2 with both clients.

import { subscribe, unsubscribe } from "node:diagnostics_channel";

import { Redis as IoRedis } from "ioredis";
import { createClient } from "redis";
import { describe, expect, onTestFinished, test } from "vitest";

import { type L2, redisL2 } from "../../src/cache/index.js";
import type { Redis } from "../redis.js";
import { type Instance, instance, proxyOf, startDaemon, started, startRedis, Truth } from "./instance.js";

test("an invalidation of one instance reaches the other, and its own reads at once", async () => {
  const daemon = await startDaemon();
  const [a, b] = [await instance(daemon.url), await instance(daemon.url)];
  const truth = new Truth();
  const read = ({ cache }: Instance) => cache.getOrSet("product:1", truth.load, { tags: ["products:1"] });
  expect([await read(a), await read(a), await read(b), await read(b)]).toEqual([1, 1, 1, 1]);
  expect(truth.loads).toBe(2);
  truth.value = 2;
  const publishing = a.cache.invalidate({ tags: ["products:1"] });
  expect(a.cache.peek("product:1")).toBeUndefined();
  const { position } = await publishing;
  expect(await b.cache.reached(position)).toBe(true);
  expect([await read(a), await read(b)]).toEqual([2, 2]);
});

test("an invalidation that was published while the connection was cut is applied after it", async () => {
  const daemon = await startDaemon();
  const proxy = await proxyOf(daemon);
  const [a, b] = [await instance(daemon.url), await instance(proxy.url)];
  const truth = new Truth();
  const read = () => b.cache.getOrSet("k", truth.load, { tags: ["t"] });
  await read();
  proxy.close();
  await expect.poll(() => b.bus.state.status).toBe("reconnecting");
  truth.value = 2;
  const { position } = await a.cache.invalidate({ tags: ["t"] });
  // Alone, it is right within the bound, and loads about once per bound.
  await expect.poll(read).toBe(2);
  const { loads } = truth;
  await Promise.all(Array.from({ length: 100 }, read));
  expect(truth.loads - loads).toBeLessThanOrEqual(1);
  truth.value = 3;
  await a.cache.invalidate({ tags: ["t"] });
  proxy.mend();
  await expect.poll(() => b.cache.reached(position, { timeout: 1 })).toBe(true);
  await expect.poll(read).toBe(3);
  expect(b.cache.stats().gaps).toBe(0);
});

test("a connection that lets nothing through any more makes no read older than the bound", async () => {
  const daemon = await startDaemon();
  const proxy = await proxyOf(daemon);
  const [a, b] = [await instance(daemon.url), await instance(proxy.url)];
  const truth = new Truth();
  const read = (bound?: number) => b.cache.getOrSet("k", truth.load, { tags: ["t"], ...(bound !== undefined && { bound }) });
  await read();
  proxy.freeze();
  truth.value = 2;
  await a.cache.invalidate({ tags: ["t"] });
  expect(await read(0)).toBe(2);
  truth.value = 3;
  await a.cache.invalidate({ tags: ["t"] });
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await read()).toBe(3);
  expect(b.bus.state.status).toBe("open");
});

test("an instance that missed more than the log has drops everything", async () => {
  const daemon = await startDaemon("--log-max-events", "5");
  const proxy = await proxyOf(daemon);
  const [a, b] = [await instance(daemon.url), await instance(proxy.url)];
  await b.cache.getOrSet("k", () => 1, { tags: ["t"] });
  proxy.close();
  for (let count = 0; count < 20; count++) await a.cache.invalidate({ tags: [`other:${count}`] });
  proxy.mend();
  await expect.poll(() => b.cache.stats().gaps).toBe(1);
  expect(b.cache.peek("k")).toBeUndefined();
});

test("mutate holds on every instance until the write is over", async () => {
  const daemon = await startDaemon();
  const [a, b] = [await instance(daemon.url), await instance(daemon.url)];
  const truth = new Truth();
  const read = () => b.cache.getOrSet("k", truth.load, { tags: ["t"] });
  await read();
  const result = await a.cache.mutate({ tags: ["t"] }, async () => {
    await expect.poll(() => b.cache.stats().applied).toBe(1);
    expect(await read()).toBe(1);
    expect(b.cache.peek("k")).toBeUndefined();
    truth.value = 2;
    return "written";
  });
  expect(result).toBe("written");
  await expect.poll(() => b.cache.stats().applied).toBe(2);
  expect(await read()).toBe(2);
  expect(b.cache.peek("k")).toBe(2);
});

test("put is stored here, and invalidates there", async () => {
  const daemon = await startDaemon();
  const [a, b] = [await instance(daemon.url), await instance(daemon.url)];
  await b.cache.getOrSet("k", () => 1);
  const { position } = await a.cache.put("k", 2, { save: async () => {} });
  expect(a.cache.peek("k")).toBe(2);
  await b.cache.reached(position);
  expect(b.cache.peek("k")).toBeUndefined();
});

test("a daemon that is away fails no read, and a mutate before it writes", async () => {
  const daemon = await startDaemon();
  const { cache } = await instance(daemon.url);
  const truth = new Truth();
  await cache.getOrSet("k", truth.load);
  await daemon.kill();
  truth.value = 2;
  await expect.poll(() => cache.getOrSet("k", truth.load)).toBe(2);
  let isWritten = false;
  await expect(cache.mutate({ keys: ["k"] }, () => void (isWritten = true))).rejects.toMatchObject({ name: "TidingsError" });
  expect(isWritten).toBe(false);
  await expect(cache.invalidate({ keys: ["k"] })).rejects.toMatchObject({ ids: [expect.any(String)] });
});

test("verify finds a value that changed without an invalidation", async () => {
  const daemon = await startDaemon();
  const { cache } = await instance(daemon.url, { verify: { sample: 1 }, bound: 20 });
  const truth = new Truth();
  const found: unknown[] = [];
  cache.on("mismatch", (event) => found.push(event));
  const read = () => cache.getOrSet("k", truth.load, { tags: ["t"] });
  await read();
  truth.value = 2;
  await expect.poll(async () => (await read(), found)).toEqual([{ key: "k", tags: ["t"] }]);
  await expect.poll(read).toBe(2);
});

test("node's diagnostics channel hears the events", async () => {
  const daemon = await startDaemon();
  const heard: unknown[] = [];
  const listener = (message: unknown) => void heard.push(message);
  subscribe("tidings:cache", listener);
  onTestFinished(() => void unsubscribe("tidings:cache", listener));
  const { cache } = await instance(daemon.url);
  await cache.getOrSet("k", () => 1);
  await cache.getOrSet("k", () => 1);
  expect(heard).toContainEqual({ type: "miss", key: "k" });
  expect(heard).toContainEqual({ type: "hit", key: "k", level: 1, stale: false });
});

/** The same tests with both clients of Redis. */
const CLIENTS: Record<string, (redis: Redis) => Promise<L2>> = {
  ioredis: async (redis) => {
    const client = new IoRedis(redis.url, { maxRetriesPerRequest: 1 });
    client.on("error", () => {});
    started.push(() => client.disconnect());
    return redisL2(client, { prefix: "test:" });
  },
  redis: async (redis) => {
    const client = createClient({ url: redis.url });
    client.on("error", () => {});
    await client.connect();
    started.push(() => client.destroy());
    return redisL2(client, { prefix: "test:" });
  },
};

/**
 * Runs a scenario until Redis answers all of it in time. On a busy machine it does not always, and the instances load for
 * themselves, as they should. A scenario returns its instances and what must hold then.
 */
async function withQuickRedis(scenario: () => Promise<{ instances: readonly Instance[]; check: () => void }>): Promise<void> {
  for (let tries = 0; tries < 10; tries++) {
    const { instances, check } = await scenario();
    if (instances.every(({ cache }) => cache.stats().l2Errors === 0)) return check();
  }
  throw new Error("Redis did not answer in time in ten runs");
}

describe.each(Object.entries(CLIENTS))("L2 with the client %s", (_name, open) => {
  test("what one instance has loaded, the other reads, until it is invalidated", async () => {
    await withQuickRedis(async () => {
      const [daemon, redis] = [await startDaemon(), await startRedis()];
      const one = async () => instance(daemon.url, { l2: await open(redis) });
      const [a, b] = [await one(), await one()];
      const truth = new Truth();
      const read = ({ cache }: Instance) => cache.getOrSet("k", truth.load, { tags: ["t"] });
      expect(await read(a)).toBe(1);
      await expect.poll(() => read(b)).toBe(1);
      const before = b.cache.stats();
      truth.value = 2;
      const { position } = await b.cache.invalidate({ tags: ["t"] });
      await a.cache.reached(position);
      expect([await read(b), await read(a)]).toEqual([2, 2]);
      // One that starts now replays the log, and judges by it.
      const c = await one();
      expect(await read(c)).toBe(2);
      const check = () => {
        expect(before).toMatchObject({ hitsL2: 1, loads: 0 });
        expect(c.cache.stats()).toMatchObject({ hitsL2: 1, loads: 0 });
      };
      return { instances: [a, b, c], check };
    });
  });

  test("values of all kinds come back", async () => {
    const [daemon, redis] = [await startDaemon(), await startRedis()];
    const l2 = await open(redis);
    const values = [null, undefined, 0, "", "u", "a\nb", { a: ["ä"] }];
    for (const [index, value] of values.entries()) {
      await l2.set(`k${index}`, { value, tags: ["a b", "c\"d"], fence: "e-1:7", ttlMs: 10_000 });
      expect(await l2.get(`k${index}`)).toMatchObject({ value, tags: ["a b", "c\"d"], fence: "e-1:7" });
    }
    void daemon;
  });

  test("a writer that was paused replaces nothing newer, and what it left alone is not served", async () => {
    const [daemon, redis] = [await startDaemon(), await startRedis()];
    const l2 = await open(redis);
    const { cache } = await instance(daemon.url, { l2 });
    const { position: before } = await cache.invalidate({ tags: ["other"] });
    const { position } = await cache.invalidate({ tags: ["t"] });
    await cache.reached(position);
    await cache.getOrSet("k", () => "new", { tags: ["t"] });
    await expect.poll(() => l2.get("k")).toMatchObject({ value: "new" });
    await l2.set("k", { value: "old", tags: ["t"], fence: before, ttlMs: 60_000 });
    expect(await l2.get("k")).toMatchObject({ value: "new" });
    await l2.set("k2", { value: "old", tags: ["t"], fence: before, ttlMs: 60_000 });
    expect(await cache.getOrSet("k2", () => "new", { tags: ["t"] })).toBe("new");
  });

  test("something else under a key is loaded over", async () => {
    const [daemon, redis] = [await startDaemon(), await startRedis()];
    const { cache } = await instance(daemon.url, { l2: await open(redis) });
    const client = new IoRedis(redis.url);
    started.push(() => client.disconnect());
    await client.set("test:k", "something else");
    expect(await cache.getOrSet("k", () => 1)).toBe(1);
    expect(cache.stats().l2Errors).toBe(1);
  });

  test("with lock, one of three instances loads", async () => {
    await withQuickRedis(async () => {
      const [daemon, redis] = [await startDaemon(), await startRedis()];
      const truth = new Truth();
      const instances = await Promise.all([0, 1, 2].map(async () => instance(daemon.url, { l2: await open(redis) })));
      const slow = async () => (await new Promise((resolve) => setTimeout(resolve, 100)), truth.load());
      const values = await Promise.all(instances.map(({ cache }) => cache.getOrSet("k", slow, { lock: true })));
      expect(values).toEqual([1, 1, 1]);
      return { instances, check: () => expect(truth.loads).toBe(1) };
    });
  });

  test("without Redis, loaders go on", async () => {
    const [daemon, redis] = [await startDaemon(), await startRedis()];
    const { cache } = await instance(daemon.url, { l2: await open(redis) });
    await cache.getOrSet("k", () => 1);
    await redis.stop();
    for (let count = 0; count < 20; count++) expect(await cache.getOrSet(`k${count}`, () => count)).toBe(count === 0 ? 0 : count);
    expect(cache.stats().l2Errors).toBeGreaterThan(0);
  });
});
