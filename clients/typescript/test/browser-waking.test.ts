// A page that sleeps and wakes up in a real browser: hidden, frozen, without a network, in the back/forward cache.

import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import type * as client from "../src/index.js";
import { CHROMIUM } from "./chromium.js";
import { Daemon } from "./daemon.js";
import { FakeDaemon } from "./fake.js";
import { Proxy } from "./proxy.js";
import { Site } from "./site.js";

declare global {
  // The globals of the page.
  var tidings: typeof client;
  var bus: client.Bus;
  var numbers: number[];
  var states: string[];
  var handlers: string[];
}

let site: Site;
let browser: Browser;
let context: BrowserContext;
const started: (() => unknown)[] = [];

beforeAll(async () => {
  site = await Site.start();
  // Playwright turns the back/forward cache off.
  const ignoreDefaultArgs = ["--disable-back-forward-cache"];
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--disable-gpu", "--enable-features=BackForwardCache"], ignoreDefaultArgs });
});

afterAll(async () => {
  await browser?.close();
  site?.stop();
});

afterEach(async () => {
  for (const end of started.splice(0).reverse()) await end();
});

async function daemon(...flags: string[]): Promise<Daemon> {
  const daemon = await Daemon.start(flags);
  started.push(() => daemon.kill());
  return daemon;
}

async function proxy(port: number): Promise<Proxy> {
  const proxy = await Proxy.before(port);
  started.push(() => proxy.stop());
  return proxy;
}

/** Opens a page, and counts its WebSockets. */
async function opened(): Promise<{ page: Page; sockets: string[] }> {
  context = await browser.newContext();
  started.push(() => context.close());
  const page = await context.newPage();
  const sockets: string[] = [];
  page.on("websocket", (socket) => sockets.push(socket.url()));
  await page.addInitScript(() => {
    globalThis.handlers = [];
    const { addEventListener } = EventTarget.prototype;
    EventTarget.prototype.addEventListener = function (type: string, ...rest: [any]) {
      globalThis.handlers.push(type);
      return addEventListener.call(this, type, ...rest);
    };
  });
  await page.goto(site.origin);
  return { page, sockets };
}

/** Collects the numbers of the events. */
async function follow(page: Page, url: string, options: { minMs?: number; transports?: client.Transport[] } = {}): Promise<void> {
  await page.evaluate(async ([url, { minMs = 1, transports }]) => {
    [globalThis.numbers, globalThis.states] = [[], []];
    const backoff = { minMs, maxMs: Math.max(minMs, 20) };
    globalThis.bus = globalThis.tidings.connect(url, { backoff, random: () => 1, transports });
    globalThis.bus.onError(() => {});
    globalThis.bus.onState(({ status }) => globalThis.states.push(status));
    globalThis.bus.on("inventory-change", ({ newQuantity }) => globalThis.numbers.push(newQuantity));
  }, [url, options] as const);
}

const status = (page: Page, expected: string) => page.waitForFunction((expected) => globalThis.bus.state.status === expected, expected);
/** The connection is there, and the daemon has confirmed the subscription: what is published now arrives. */
async function live(page: Page): Promise<void> {
  await status(page, "open");
  await page.evaluate(() => globalThis.bus.ready());
}

const numbers = (page: Page) => page.evaluate(() => globalThis.numbers);
const dispatch = (page: Page, type: string) => page.evaluate((type) => void (type === "online" ? globalThis : document).dispatchEvent(new Event(type)), type);
const sales = (...numbers: number[]) => numbers.map((newQuantity) => ({ type: "inventory-change", data: { productId: "1", oldQuantity: 0, newQuantity, reason: "sale" } }));

test.each(["visibilitychange", "online"])("a page that waits for its next attempt tries at once when it wakes up: %s", async (type) => {
  const running = await daemon();
  const between = await proxy(running.port);
  between.close();
  const { page } = await opened();
  await follow(page, between.url, { minMs: 3_600_000 });
  await status(page, "reconnecting");
  between.mend();
  await dispatch(page, type);
  await live(page);
  await running.publish(sales(1));
  await expect.poll(() => numbers(page)).toEqual([1]);
});

test("a page whose network comes back tries at once", async () => {
  const running = await daemon();
  const { page } = await opened();
  await follow(page, running.url, { minMs: 3_600_000 });
  await live(page);
  // A restart: the page is told that it is without a network only afterwards.
  await context.setOffline(true);
  await page.evaluate(() => globalThis.bus.wake());
  await status(page, "reconnecting");
  await running.publish(sales(1));
  await context.setOffline(false);
  await live(page);
  await expect.poll(() => numbers(page)).toEqual([1]);
});

test("a page that wakes up with a dead connection replaces it after 5 s, and one with a live connection keeps it", async () => {
  const running = await daemon();
  const between = await proxy(running.port);
  const { page, sockets } = await opened();
  await follow(page, between.url);
  await live(page);
  for (let count = 0; count < 5; count++) await dispatch(page, "visibilitychange");
  await page.evaluate(() => globalThis.bus.sync());
  // Longer than the answer may take.
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 5_500)));
  expect([sockets.length, await page.evaluate(() => globalThis.states)]).toEqual([1, ["connecting", "open"]]);

  between.freeze();
  await running.publish(sales(1));
  await dispatch(page, "visibilitychange");
  // The heartbeat would say so only after 50 s.
  await expect.poll(() => numbers(page)).toEqual([1]);
  expect([sockets.length, await page.evaluate(() => globalThis.states)]).toEqual([2, ["connecting", "open", "reconnecting", "open"]]);
});

test("a page that wakes up while it connects leaves that attempt alone", async () => {
  const fake = await FakeDaemon.start();
  started.push(() => fake.stop());
  const { page, sockets } = await opened();
  await follow(page, fake.url);
  const peer = await fake.connection();
  for (let count = 0; count < 10; count++) await dispatch(page, count % 2 ? "online" : "visibilitychange");
  expect(await page.evaluate(() => globalThis.bus.state.status)).toBe("connecting");
  peer.welcome();
  await status(page, "open");
  expect(sockets).toHaveLength(1);
});

test.each([["websocket"], ["sse"], ["long-poll"]] as const)(
  "a page that comes back from the back/forward cache resumes with nothing lost, and the client does not keep it out: %s",
  async (transport) => {
    const running = await daemon();
    const { page } = await opened();
    await follow(page, running.url, { transports: [transport] });
    await live(page);
    await running.publish(sales(1));
    await expect.poll(() => numbers(page)).toEqual([1]);
    expect(await page.evaluate(() => globalThis.handlers.filter((type) => /unload/.test(type)))).toEqual([]);

    await page.goto(`${site.origin}/elsewhere`);
    await expect.poll(() => running.subscribers("inventory-change")).toBe(0);
    await running.publish(sales(2, 3));
    await page.goBack({ waitUntil: "commit" });
    // The same page, not a new one: it has what it had, and what was published meanwhile.
    await expect.poll(() => numbers(page).catch(() => "not cached")).toEqual([1, 2, 3]);
    expect(await page.evaluate(() => globalThis.states)).toEqual(["connecting", "open", "reconnecting", "open"]);
    await running.publish(sales(4));
    await expect.poll(() => numbers(page)).toEqual([1, 2, 3, 4]);
  },
);

test("a frozen page that goes on is taken for dead by neither side, and has what was published meanwhile", async () => {
  const running = await daemon("--heartbeat", "2s");
  const { page, sockets } = await opened();
  await follow(page, running.url);
  await page.evaluate(() => globalThis.bus.ready());
  const devtools = await context.newCDPSession(page);
  await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
  await running.publish(sales(1));
  // More than two intervals, after which each side gives up a silent peer.
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  await devtools.send("Page.setWebLifecycleState", { state: "active" });
  await expect.poll(() => numbers(page)).toEqual([1]);
  await page.evaluate(() => globalThis.bus.sync());
  expect([sockets.length, await page.evaluate(() => globalThis.states)]).toEqual([1, ["connecting", "open"]]);
});

test("a hidden page whose timers run once a minute is taken for dead by neither side", async () => {
  // A minute is 2.4 heartbeats by default: so many are 1.2 s here.
  const running = await daemon("--heartbeat", "500ms");
  const { page, sockets } = await opened();
  await page.evaluate(() => {
    const { setTimeout, performance } = globalThis;
    const delayed = (run: () => void, ms = 0) => {
      const at = Math.ceil((performance.now() + ms) / 1_200) * 1_200;
      return setTimeout(run, at - performance.now());
    };
    globalThis.setTimeout = delayed as typeof setTimeout;
  });
  await follow(page, running.url);
  await page.evaluate(() => globalThis.bus.ready());
  for (let number = 1; number <= 8; number++) {
    await running.publish(sales(number));
    await page.evaluate(() => globalThis.bus.sync());
    // Ten heartbeats in all.
    await new Promise((resolve) => setTimeout(resolve, 600));
  }
  expect(await numbers(page)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect([sockets.length, await page.evaluate(() => globalThis.states)]).toEqual([1, ["connecting", "open"]]);
});
