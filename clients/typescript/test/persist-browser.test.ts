// Persistence in a real browser, with the real daemon: reloaded pages, several tabs, a full or damaged storage, a lost log.

import type { BrowserContext, Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type * as client from "../src/index.js";
import type * as persistence from "../src/persist/index.js";
import { launch } from "./chromium.js";
import { Daemon } from "./daemon.js";
import { Proxy } from "./proxy.js";
import { Site } from "./site.js";

declare global {
  // The globals of the page.
  var persist: typeof persistence;
  var persisted: client.Persistence;
  /** For each product, its quantity. */
  var shown: Record<string, number>;
  var restored: number;
  var gaps: client.Gap[];
  var problems: string[];
}

let daemon: Daemon;
/** What the pages connect to. */
let proxy: Proxy;
let site: Site;
let browser: Browser;
/** The browser of one user, with storages of its own. */
let user: BrowserContext;

beforeAll(async () => {
  site = await Site.start();
  browser = await launch();
});

beforeEach(async () => {
  daemon = await Daemon.start();
  proxy = await Proxy.before(daemon.port);
  user = await browser.newContext();
});

afterEach(async () => {
  await user.close();
  await proxy.stop();
  await daemon.kill();
});

afterAll(async () => {
  await browser?.close();
  site?.stop();
});

type Kind = "localStoragePersistence" | "indexedDbPersistence";

/** Opens a page, or reloads it. The page shows the quantity of each product. */
async function load(kind: Kind, page?: Page): Promise<Page> {
  if (page) await page.reload();
  else await (page = await user.newPage()).goto(site.origin);
  await page.addScriptTag({ type: "module", content: 'import * as persist from "/client/persist.js"; globalThis.persist = persist;' });
  await page.waitForFunction(() => globalThis.persist !== undefined);
  await page.evaluate(({ url, kind }) => {
    Object.assign(globalThis, { shown: {}, restored: 0, gaps: [], problems: [] });
    const persist = (globalThis.persisted = globalThis.persist[kind]());
    globalThis.bus = globalThis.tidings.connect(url, { persist, backoff: { minMs: 50, maxMs: 200 } });
    globalThis.bus.onError(({ code, message }) => globalThis.problems.push(`${code}: ${message}`));
    globalThis.bus.onGap((gap) => globalThis.gaps.push(gap));
    globalThis.bus.on("inventory-change", ({ productId, newQuantity }, event) => {
      globalThis.shown[productId] = newQuantity;
      if (persist.isRestored(event)) globalThis.restored++;
    });
  }, { url: proxy.url, kind });
  return page;
}

const ready = (page: Page) => page.evaluate(() => globalThis.bus.ready());
const shown = (page: Page) => page.evaluate(() => globalThis.shown);

async function publish(quantities: Record<string, number>): Promise<void> {
  const events = Object.entries(quantities).map(([productId, newQuantity]) => (
    { type: "inventory-change", data: { productId, oldQuantity: 0, newQuantity, reason: "count" } }
  ));
  await daemon.publish(events);
}

/** The keys and texts of a storage of the site. */
const stored = (page: Page, kind: Kind) => page.evaluate(async (kind): Promise<[string, string][]> => {
  if (kind === "localStoragePersistence") return Object.entries(localStorage);
  if ((await indexedDB.databases()).length === 0) return [];
  const database = await new Promise<IDBDatabase>((resolve) => {
    const request = indexedDB.open("tidings-client");
    request.onsuccess = () => resolve(request.result);
  });
  const table = database.transaction("records").objectStore("records");
  const [keys, texts] = [table.getAllKeys(), table.getAll()];
  await new Promise((resolve) => (texts.onsuccess = resolve));
  database.close();
  return keys.result.map((key, index) => [String(key), texts.result[index]]);
}, kind);

describe.each<Kind>(["localStoragePersistence", "indexedDbPersistence"])("%s", (kind) => {
  test("a reloaded page shows what it had without the daemon, and then what it missed", async () => {
    const page = await load(kind);
    await ready(page);
    await publish({ shoe: 3, sock: 5 });
    await publish({ shoe: 2 });
    await expect.poll(() => shown(page)).toEqual({ shoe: 2, sock: 5 });
    await expect.poll(async () => JSON.stringify(await stored(page, kind))).toContain(':3');
    // Nothing but the storage can tell.
    proxy.close();
    await load(kind, page);
    await expect.poll(() => shown(page)).toEqual({ shoe: 2, sock: 5 });
    expect(await page.evaluate(() => [globalThis.restored, globalThis.bus.positions.size])).toEqual([2, 0]);
    await publish({ hat: 7, shoe: 1 });
    proxy.mend();
    await expect.poll(() => shown(page)).toEqual({ shoe: 1, sock: 5, hat: 7 });
    expect(await page.evaluate(() => globalThis.gaps)).toEqual([]);
    expect(await page.evaluate(() => globalThis.problems.filter((problem) => !problem.startsWith("network")))).toEqual([]);
  });

  test("a log that was lost is a gap, and the old values do not come again", async () => {
    const page = await load(kind);
    await ready(page);
    await publish({ shoe: 3, sock: 5 });
    await expect.poll(() => shown(page)).toEqual({ shoe: 3, sock: 5 });
    await expect.poll(async () => JSON.stringify(await stored(page, kind))).toContain(':2');
    proxy.close();
    await daemon.kill();
    daemon = await Daemon.start([], daemon.port);
    await publish({ sock: 4 });
    await load(kind, page);
    await expect.poll(() => shown(page)).toEqual({ shoe: 3, sock: 5 });
    proxy.mend();
    await expect.poll(() => shown(page)).toEqual({ shoe: 3, sock: 4 });
    expect(await page.evaluate(() => globalThis.gaps)).toMatchObject([{ channel: "inventory-change" }]);
    await expect.poll(async () => JSON.stringify(await stored(page, kind))).not.toContain("shoe");
    await load(kind, page);
    await ready(page);
    await expect.poll(() => shown(page)).toEqual({ sock: 4 });
    expect(await page.evaluate(() => globalThis.gaps)).toEqual([]);
  });

  test("a damaged text is dropped, and the page begins anew", async () => {
    const page = await load(kind);
    await ready(page);
    await publish({ shoe: 3 });
    await expect.poll(async () => (await stored(page, kind)).length).toBe(1);
    await page.evaluate(async (kind) => {
      globalThis.bus.close();
      if (kind === "localStoragePersistence") {
        for (const key of Object.keys(localStorage)) localStorage.setItem(key, `${localStorage.getItem(key)?.slice(0, -9)}`);
        return;
      }
      const request = indexedDB.open("tidings-client");
      await new Promise((resolve) => (request.onsuccess = resolve));
      const table = request.result.transaction("records", "readwrite").objectStore("records");
      const keys = table.getAllKeys();
      keys.onsuccess = () => keys.result.forEach((key) => table.put({ v: 1 }, key));
      await new Promise((resolve) => (table.transaction.oncomplete = resolve));
      request.result.close();
    }, kind);
    await load(kind, page);
    await ready(page);
    expect(await shown(page)).toEqual({});
    await publish({ shoe: 2 });
    await expect.poll(() => shown(page)).toEqual({ shoe: 2 });
    expect(await page.evaluate(() => globalThis.problems)).toEqual([]);
  });

  test("tabs share what is stored, and each new page begins where the newest one was", async () => {
    const [one, two] = [await load(kind), await load(kind)];
    await Promise.all([ready(one), ready(two)]);
    await publish({ shoe: 3 });
    for (const page of [one, two]) await expect.poll(() => shown(page)).toEqual({ shoe: 3 });
    await two.evaluate(() => globalThis.bus.close());
    await publish({ shoe: 2, sock: 1 });
    await expect.poll(() => shown(one)).toEqual({ shoe: 2, sock: 1 });
    await expect.poll(async () => JSON.stringify(await stored(one, kind))).toContain("sock");
    // The tab that is behind ends last.
    await one.close();
    await load(kind, two);
    await expect.poll(() => shown(two)).toEqual({ shoe: 2, sock: 1 });
    expect(await two.evaluate(() => globalThis.restored)).toBe(2);
    expect(await stored(two, kind)).toHaveLength(1);
  });

  test("what one tab clears is not written again by another tab", async () => {
    const [one, two] = [await load(kind), await load(kind)];
    await Promise.all([ready(one), ready(two)]);
    await publish({ shoe: 3 });
    for (const page of [one, two]) await expect.poll(() => shown(page)).toEqual({ shoe: 3 });
    await expect.poll(async () => JSON.stringify(await stored(one, kind))).toContain("shoe");
    await one.evaluate(async () => {
      globalThis.bus.close();
      await globalThis.persisted.clear();
    });
    expect(JSON.stringify(await stored(one, kind))).not.toContain("shoe");
    // The user of the other tab goes on.
    await publish({ sock: 5 });
    await expect.poll(async () => JSON.stringify(await stored(one, kind))).toContain("sock");
    expect(JSON.stringify(await stored(one, kind))).not.toContain("shoe");
    await load(kind, two);
    await ready(two);
    await expect.poll(() => shown(two)).toEqual({ sock: 5 });
    expect(await two.evaluate(() => [globalThis.restored, globalThis.gaps])).toEqual([1, []]);
  });
});

test("localStorage: what the page has shown last is there after a reload at once", async () => {
  const page = await load("localStoragePersistence");
  await ready(page);
  for (let quantity = 20; quantity > 0; quantity--) {
    await publish({ shoe: quantity });
    await expect.poll(() => shown(page)).toMatchObject({ shoe: quantity });
    if (quantity % 5 > 0) continue;
    await load("localStoragePersistence", page);
    await page.evaluate(() => Promise.resolve());
    expect(await page.evaluate(() => [globalThis.shown, globalThis.restored])).toEqual([{ shoe: quantity }, 1]);
    await ready(page);
  }
});

test("localStorage: a full storage is reported once, and the page goes on", async () => {
  const page = await load("localStoragePersistence");
  await page.evaluate(() => {
    // Down to the last character.
    for (let size = 1 << 22, count = 0; size >= 1; ) {
      try {
        localStorage.setItem(`f${count++}`, "x".repeat(size));
      } catch {
        size >>= 1;
      }
    }
  });
  await ready(page);
  await publish({ shoe: 3 });
  await expect.poll(() => page.evaluate(() => globalThis.problems)).toEqual([expect.stringMatching(/^not-persisted: .*QuotaExceededError/)]);
  await publish({ shoe: 2 });
  await expect.poll(() => shown(page)).toEqual({ shoe: 2 });
  await page.evaluate(() => window.dispatchEvent(new Event("pagehide")));
  expect(await page.evaluate(() => globalThis.problems.length)).toBe(1);
  await load("localStoragePersistence", page);
  await ready(page);
  await publish({ shoe: 1 });
  await expect.poll(() => shown(page)).toEqual({ shoe: 1 });
});

test("IndexedDB: a page and its worker use it, and its database can be deleted", async () => {
  const page = await load("indexedDbPersistence");
  await ready(page);
  await publish({ shoe: 3 });
  await expect.poll(async () => (await stored(page, "indexedDbPersistence")).length).toBe(1);
  const restored = await page.evaluate((url) => {
    const program = `
      import { connect } from "${location.origin}/client/index.js";
      import { indexedDbPersistence } from "${location.origin}/client/persist.js";
      const bus = connect("${url}", { persist: indexedDbPersistence() });
      bus.on("inventory-change", ({ newQuantity }) => { postMessage(newQuantity); bus.close(); });`;
    const worker = new Worker(URL.createObjectURL(new Blob([program], { type: "text/javascript" })), { type: "module" });
    return new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
  }, proxy.url);
  expect(restored).toBe(3);
  await page.evaluate(() => new Promise((resolve) => (indexedDB.deleteDatabase("tidings-client").onsuccess = resolve)));
  await publish({ shoe: 2 });
  await expect.poll(async () => (await stored(page, "indexedDbPersistence"))[0]?.[1]).toContain('"newQuantity":2');
  expect(await page.evaluate(() => globalThis.problems)).toEqual([]);
});
