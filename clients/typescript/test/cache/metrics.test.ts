// The program of docs/cache.md that exports the counters of caches for Prometheus, with the real prom-client.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { register } from "prom-client";
import { expect, onTestFinished, test } from "vitest";

import { createCache, type Cache } from "../../src/cache/index.js";
import { connect } from "../../src/index.js";
import { Daemon } from "../daemon.js";

/** The only block of JavaScript in the document, as a module. */
async function documented(): Promise<{ exportCaches(caches: Record<string, Cache>): void }> {
  const document = await readFile(new URL("../../../../docs/cache.md", import.meta.url), "utf8");
  const blocks = [...document.matchAll(/^```js\n(.*?)^```$/gms)];
  expect(blocks).toHaveLength(1);
  // Within the package, so that `prom-client` is found.
  const folder = await mkdtemp(join(fileURLToPath(new URL("../../node_modules/", import.meta.url)), ".documented-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, "metrics.mjs");
  await writeFile(file, blocks[0]![1]!);
  return (await import(/* @vite-ignore */ pathToFileURL(file).href)) as Awaited<ReturnType<typeof documented>>;
}

test("the documented program exports what the caches have counted", async () => {
  const { exportCaches } = await documented();
  const daemon = await Daemon.start();
  const bus = connect(daemon.url);
  const of = (cache: Cache) => (onTestFinished(() => cache.close()), cache);
  const [product, price] = [of(createCache({ bus, ttl: "1m", maxEntries: 10 })), of(createCache({ bus, ttl: "1m", maxEntries: 10 }))];
  onTestFinished(async () => (bus.close(), daemon.kill()));
  onTestFinished(() => register.clear());
  exportCaches({ product, price });

  for (let count = 0; count < 5; count++) await product.getOrSet("1", () => "a chair", { tags: ["products:1"] });
  await product.invalidate({ tags: ["products:1"] });
  const metrics = async () => (await register.metrics()).split("\n");
  const { hitsL1, misses } = product.stats();
  // At the beginning, a cache may not store what it cannot prove.
  expect(hitsL1 + misses).toBe(5);
  for (const line of [
    `tidings_cache_hits_total{cache="product",level="1"} ${hitsL1}`,
    `tidings_cache_hits_total{cache="product",level="2"} 0`,
    `tidings_cache_misses_total{cache="product"} ${misses}`,
    `tidings_cache_load_seconds_count{cache="product"} ${misses}`,
    `tidings_cache_misses_total{cache="price"} 0`,
  ]) {
    expect(await metrics()).toContain(line);
  }
  // A counter, and not the sum of what was read before.
  expect(await metrics()).toContain(`tidings_cache_misses_total{cache="product"} ${misses}`);
  await expect.poll(metrics).toContain('tidings_cache_invalidations_total{cache="product"} 1');
  // One for each counter of `stats()`, besides the rate that Prometheus computes and the second level.
  const names = new Set((await metrics()).filter((line) => line.startsWith("# TYPE")).map((line) => line.split(" ")[2]));
  expect(names.size).toBe(Object.keys(product.stats()).length - 2 + 1);
});
