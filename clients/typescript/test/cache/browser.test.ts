// The built cache in a real browser: a page whose cache is invalidated from Node, and which goes offline.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import type * as built from "../../src/cache/index.js";
import type * as client from "../../src/index.js";
import { launch } from "../chromium.js";
import { Site } from "../site.js";
import { instance, proxyOf, startDaemon, started } from "./instance.js";

declare global {
  // The globals of the page.
  var tidings: typeof client;
  var createCache: typeof built.createCache;
  var cache: built.Cache;
  /** Reads a product, through the cache. */
  var read: () => Promise<string>;
}

/** What the site answers to the loader of the page. */
let truth = "1";
let site: Site;
let browser: Browser;

beforeAll(async () => {
  site = await Site.start(async () => truth);
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  site?.stop();
});

/** Opens a page with a cache, and reads one value. */
async function open(url: string): Promise<Page> {
  truth = "1";
  const page = await browser.newPage();
  started.push(() => page.close());
  await page.goto(site.origin);
  await page.addScriptTag({ type: "module", content: 'import { createCache } from "/client/cache.js"; globalThis.createCache = createCache;' });
  await page.waitForFunction(() => globalThis.createCache !== undefined);
  const first = await page.evaluate(async (url) => {
    const bus = globalThis.tidings.connect(url, { backoff: { minMs: 10, maxMs: 100 } });
    bus.onError(() => {});
    globalThis.cache = globalThis.createCache({ bus, ttl: "1h", maxEntries: 100, bound: 500 });
    const load = async () => (await fetch("/token", { cache: "no-store" })).text();
    globalThis.read = () => globalThis.cache.getOrSet("product:1", load, { tags: ["products:1"] });
    await bus.sync();
    while (globalThis.cache.peek("product:1") === undefined) await globalThis.read();
    return globalThis.read();
  }, url);
  expect(first).toBe("1");
  return page;
}

test("a page's cache is invalidated from Node", async () => {
  const daemon = await startDaemon();
  const page = await open(daemon.url);
  const { cache } = await instance(daemon.url);
  truth = "2";
  const { position } = await cache.invalidate({ tags: ["products:1"] });
  expect(await page.evaluate((position) => globalThis.cache.reached(position), position)).toBe(true);
  expect(await page.evaluate(() => globalThis.cache.peek("product:1"))).toBeUndefined();
  expect(await page.evaluate(() => globalThis.read())).toBe("2");
  expect(await page.evaluate(() => globalThis.cache.stats())).toMatchObject({ applied: 1, unmatched: 0, gaps: 0 });
});

test("a page that is offline serves nothing that is older than the bound, and what it missed is applied when it is online again", async () => {
  const daemon = await startDaemon();
  const proxy = await proxyOf(daemon);
  const page = await open(proxy.url);
  // Chromium leaves a WebSocket open that it has when it goes offline.
  await page.context().setOffline(true);
  proxy.close();
  const { cache } = await instance(daemon.url);
  truth = "2";
  const { position } = await cache.invalidate({ tags: ["products:1"] });
  await expect.poll(() => page.evaluate(() => globalThis.cache.peek("product:1"))).toBeUndefined();
  // Its loader fails, as it would without a cache.
  expect(await page.evaluate(() => globalThis.read().catch((error: Error) => error.name))).toBe("TypeError");
  await page.context().setOffline(false);
  proxy.mend();
  await expect.poll(() => page.evaluate((position) => globalThis.cache.reached(position, { timeout: 100 }), position)).toBe(true);
  expect(await page.evaluate(() => globalThis.read())).toBe("2");
  expect(await page.evaluate(() => globalThis.cache.stats())).toMatchObject({ applied: 1, gaps: 0 });
});
