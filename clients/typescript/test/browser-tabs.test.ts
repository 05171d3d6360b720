// Many tabs without a WebSocket: they share one event stream, through Web Locks and BroadcastChannel of a real browser.

import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import type * as client from "../src/index.js";
import { Authority } from "./authority.js";
import { launch } from "./chromium.js";
import { Daemon } from "./daemon.js";
import { Middlebox } from "./middlebox.js";
import { Site } from "./site.js";

declare global {
  // The globals of the page.
  var tidings: typeof client;
  var bus: client.Bus;
  var numbers: number[];
  var others: number[];
  var position: string;
  var release: () => void;
}

let site: Site;
let browser: Browser;
let context: BrowserContext;
let daemon: Daemon;

beforeAll(async () => {
  site = await Site.start();
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  site?.stop();
});

beforeEach(async () => {
  daemon = await Daemon.start();
  context = await browser.newContext();
});

afterEach(async () => {
  await context?.close();
  await daemon?.kill();
});

/** A tab that collects numbers of this channel over the transport. */
async function tab(url: string, transport: client.Transport = "sse", where?: { productId: string }): Promise<Page> {
  const page = await context.newPage();
  await page.goto(site.origin);
  await page.evaluate(async ([url, transport, where]) => {
    globalThis.numbers = [];
    globalThis.bus = globalThis.tidings.connect(url, { transports: [transport], backoff: { minMs: 1, maxMs: 20 } });
    globalThis.bus.on("inventory-change", { where }, ({ newQuantity }) => globalThis.numbers.push(newQuantity));
    await globalThis.bus.ready();
  }, [url, transport, where] as const);
  return page;
}

const numbers = (page: Page) => page.evaluate(() => globalThis.numbers);
const sales = (productId: string, ...numbers: number[]) =>
  numbers.map((newQuantity) => ({ type: "inventory-change", data: { productId, oldQuantity: 0, newQuantity, reason: "sale" } }));
const all = (tabs: Page[]) => Promise.all(tabs.map(numbers));
const same = (tabs: Page[], expected: number[]) => tabs.map(() => expected);

test.each(["sse", "long-poll"] as const)("nine tabs share one connection, where a browser opens six: %s", async (transport) => {
  const tabs: Page[] = [];
  for (let count = 0; count < 9; count++) tabs.push(await tab(daemon.url, transport));
  await daemon.publish(sales("1", 1, 2, 3));
  await expect.poll(() => all(tabs)).toEqual(same(tabs, [1, 2, 3]));
  if (transport === "sse") expect(await daemon.subscribers("inventory-change")).toBe(1);
  else expect(await daemon.metric("tidings_long_polls")).toBe(1);
});

test("when the tab that leads is closed, another one leads, and the others lose and repeat nothing", async () => {
  const tabs = [await tab(daemon.url), await tab(daemon.url), await tab(daemon.url)];
  let last = 0;
  for (let round = 0; round < 3; round++) {
    const publishing = (async () => {
      for (let count = 0; count < 20; count++) await daemon.publish(sales("1", ++last));
    })();
    const leader = round < 2 ? tabs.shift() : undefined;
    await leader?.close();
    await publishing;
    const expected = Array.from({ length: last }, (_, index) => index + 1);
    await expect.poll(() => all(tabs)).toEqual(same(tabs, expected));
  }
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
});

test("tabs with other filters and a tab that comes later get what they asked for, and sync holds in each", async () => {
  const [first, second] = [await tab(daemon.url, "sse", { productId: "1" }), await tab(daemon.url, "sse", { productId: "2" })];
  await daemon.publish([...sales("1", 1), ...sales("2", 2)]);
  await expect.poll(() => all([first!, second!])).toEqual([[1], [2]]);
  const third = await tab(daemon.url);
  await daemon.publish([...sales("1", 3), ...sales("2", 4)]);
  for (const page of [first!, second!, third]) await page.evaluate(() => globalThis.bus.sync());
  expect(await all([first!, second!, third])).toEqual([[1, 3], [2, 4], [3, 4]]);
  // Another channel, which no other tab follows.
  await second!.evaluate(async () => {
    globalThis.bus.on("order-status", ({ orderId }) => globalThis.numbers.push(Number(orderId)));
    await globalThis.bus.ready();
  });
  await daemon.publish([{ type: "order-status", data: { orderId: "5", newStatus: "shipped" } }]);
  await expect.poll(() => all([first!, second!, third])).toEqual([[1, 3], [2, 4, 5], [3, 4]]);
  expect(await daemon.subscribers("inventory-change")).toBe(1);
});

test.each(["leads", "follows"])("a tab that %s and subscribes without a filter, too, misses nothing while it changes the shared stream", async (role) => {
  const tabs = [await tab(daemon.url, "sse", { productId: "1" }), await tab(daemon.url, "sse", { productId: "1" })];
  const page = role === "leads" ? tabs[0]! : tabs[1]!;
  await daemon.publish(sales("1", 1));
  await expect.poll(() => all(tabs)).toEqual(same(tabs, [1]));
  await page.evaluate(async () => {
    // The browser is slow to make the name under which the tabs share.
    const digest = crypto.subtle.digest.bind(crypto.subtle);
    const isReleased = new Promise<void>((resolve) => (globalThis.release = resolve));
    crypto.subtle.digest = async (...args: Parameters<typeof digest>) => (await isReleased, digest(...args));
    globalThis.others = [];
    globalThis.bus.on("inventory-change", ({ newQuantity }) => globalThis.others.push(newQuantity));
    await globalThis.bus.ready();
  });
  await daemon.publish([...sales("2", 2), ...sales("1", 3)]);
  // The other tab has it, unless this one leads and holds the stream up.
  if (role === "follows") await expect.poll(() => numbers(tabs[0]!)).toEqual([1, 3]);
  await page.evaluate(() => globalThis.release());
  await expect.poll(() => all(tabs)).toEqual(same(tabs, [1, 3]));
  await page.evaluate(() => globalThis.bus.sync());
  expect(await page.evaluate(() => globalThis.others)).toEqual([2, 3]);
});

test("a tab that joins misses nothing, although the leader says how far it is before it answers", async () => {
  const first = await tab(daemon.url);
  const page = await context.newPage();
  await page.goto(site.origin);
  await page.evaluate(async (url) => {
    const digest = crypto.subtle.digest.bind(crypto.subtle);
    const isReleased = new Promise<void>((resolve) => (globalThis.release = resolve));
    crypto.subtle.digest = async (...args: Parameters<typeof digest>) => (await isReleased, digest(...args));
    const Channel = BroadcastChannel;
    globalThis.BroadcastChannel = class extends Channel {
      constructor(name: string) {
        super(name);
        // The heartbeat of the leader, at this moment.
        new Channel(name).postMessage({ type: "reached", positions: [["inventory-change", globalThis.position]] });
      }
    };
    globalThis.numbers = [];
    globalThis.bus = globalThis.tidings.connect(url, { transports: ["sse"] });
    globalThis.bus.on("inventory-change", ({ newQuantity }) => globalThis.numbers.push(newQuantity));
    await globalThis.bus.ready();
  }, daemon.url);
  await daemon.publish(sales("1", 1, 2));
  await expect.poll(() => numbers(first)).toEqual([1, 2]);
  const position = await first.evaluate(() => globalThis.bus.positions.get("inventory-change")!);
  await page.evaluate((position) => {
    globalThis.position = position;
    globalThis.release();
  }, position);
  await expect.poll(() => numbers(page)).toEqual([1, 2]);
});

test("when the shared stream is cut again and again under load, no tab loses or repeats an event", async () => {
  const box = await Middlebox.before(daemon.port);
  try {
    const tabs = [await tab(box.url), await tab(box.url), await tab(box.url)];
    for (let round = 0; round < 5; round++) {
      await daemon.publish(sales("1", ...Array.from({ length: 40 }, (_, index) => round * 40 + index + 1)));
      box.cut();
    }
    const expected = Array.from({ length: 200 }, (_, index) => index + 1);
    await expect.poll(() => all(tabs)).toEqual(same(tabs, expected));
  } finally {
    await box.stop();
  }
});

test("tabs of users with other rights share nothing", async () => {
  const authority = await Authority.start("--allowed-origins", site.origin);
  try {
    const tabs: Page[] = [];
    for (const [user, ttl] of [["u1", "1h"], ["u2", "1h"], ["u1", "2h"]] as const) {
      const page = await context.newPage();
      await page.goto(site.origin);
      const token = await authority.token(user, `order-status:customerId=${user}`, ttl);
      await page.evaluate(async ([url, token]) => {
        globalThis.numbers = [];
        globalThis.bus = globalThis.tidings.connect(url, { token, transports: ["sse"] });
        globalThis.bus.on("order-status", ({ orderId }) => globalThis.numbers.push(Number(orderId)));
        await globalThis.bus.ready();
      }, [authority.daemon.url, token] as const);
      tabs.push(page);
    }
    await authority.publish(
      { type: "order-status", data: { orderId: "1", newStatus: "shipped", customerId: "u1" } },
      { type: "order-status", data: { orderId: "2", newStatus: "shipped", customerId: "u2" } },
    );
    await expect.poll(() => all(tabs)).toEqual([[1], [2], [1]]);
  } finally {
    await authority.stop();
  }
});
