// Instances of the cache with a real daemon, for tests. What a test starts is ended after it.

import { afterEach } from "vitest";

import { type Cache, type CacheOptions, createCache } from "../../src/cache/index.js";
import { type Bus, connect } from "../../src/index.js";
import { Daemon } from "../daemon.js";
import { Proxy } from "../proxy.js";
import { Redis } from "../redis.js";

/** What a test has started, to be ended after it in the opposite order. */
export const started: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of started.splice(0).reverse()) await end();
});

export async function startDaemon(...flags: string[]): Promise<Daemon> {
  const daemon = await Daemon.start(flags);
  started.push(() => daemon.kill());
  return daemon;
}

export async function startRedis(): Promise<Redis> {
  const redis = await Redis.start();
  started.push(() => redis.stop());
  return redis;
}

export async function proxyOf(daemon: Daemon): Promise<Proxy> {
  const proxy = await Proxy.before(daemon.port);
  started.push(() => proxy.stop());
  return proxy;
}

export interface Instance {
  readonly cache: Cache;
  readonly bus: Bus;
}

/** An instance, whose cache has begun. */
export async function instance(url: string, options: Partial<CacheOptions> = {}, urls: readonly string[] = []): Promise<Instance> {
  const bus = connect(url, { urls, backoff: { minMs: 10, maxMs: 50 } });
  bus.onError(() => {});
  const cache = createCache({ bus, ttl: "1m", maxEntries: 1_000, bound: 300, ...options });
  started.push(async () => (await cache.close(), bus.close()));
  // The cache has asked the same, and gets the answer at the same time.
  await bus.sync();
  await new Promise((resolve) => setImmediate(resolve));
  return { cache, bus };
}

/** A value that a test changes, and a loader that counts. */
export class Truth {
  value = 1;
  loads = 0;
  readonly load = async () => {
    this.loads++;
    const { value } = this;
    await new Promise((resolve) => setTimeout(resolve, 1));
    return value;
  };
}
