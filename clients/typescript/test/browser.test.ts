// The built package in a real browser, without a bundler, and with the WebSocket of the browser.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import type * as client from "../src/index.js";
import { launch } from "./chromium.js";
import { Daemon } from "./daemon.js";
import { FakeDaemon } from "./fake.js";
import { Site } from "./site.js";

declare global {
  // The globals of the page.
  var tidings: typeof client;
  var bus: client.Bus;
  var seen: client.InventoryChange[];
}

let daemon: Daemon;
let site: Site;
let browser: Browser;

beforeAll(async () => {
  daemon = await Daemon.start();
  site = await Site.start();
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  site?.stop();
  await daemon?.kill();
});

/** Opens a page that collects the events of product 123, and the errors of the page. */
async function subscribed(url: string): Promise<{ page: Page; pageErrors: unknown[] }> {
  const page = await browser.newPage();
  const pageErrors: unknown[] = [];
  page.on("pageerror", (error) => pageErrors.push(error));
  await page.goto(site.origin);
  await page.evaluate(async (url) => {
    globalThis.seen = [];
    globalThis.bus = globalThis.tidings.connect(url);
    globalThis.bus.on("inventory-change", { where: { productId: "123" } }, (data) => globalThis.seen.push(data));
    await globalThis.bus.ready();
  }, url);
  return { page, pageErrors };
}

test("a page subscribes, and receives a published event", async () => {
  const { page, pageErrors } = await subscribed(daemon.url);

  const data = { productId: "123", oldQuantity: 100, newQuantity: 95, reason: "sale" };
  await daemon.publish(["124", "123"].map((productId) => ({ type: "inventory-change", data: { ...data, productId } })));
  await page.waitForFunction(() => globalThis.seen.length > 0);
  expect(await page.evaluate(() => globalThis.seen)).toEqual([data]);

  await page.evaluate(() => globalThis.bus.close());
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(0);
  expect(pageErrors).toEqual([]);
});

test("a page reports at which URL no daemon answers", async () => {
  const own = await Daemon.start();
  await own.kill();
  const page = await browser.newPage();
  await page.goto(site.origin);
  const lines: string[] = [];
  page.on("console", (message) => lines.push(message.text()));
  const failed = await page.evaluate(async (url) => {
    const bus = globalThis.tidings.connect(url, { backoff: { minMs: 1, maxMs: 1 } });
    bus.on("inventory-change", () => {});
    // Few: Chromium delays further WebSockets to an address that refused one.
    await new Promise<void>((resolve) => bus.onState((state) => state.status === "reconnecting" && state.attempt > 3 && resolve()));
    bus.close();
    const data = { productId: "1", oldQuantity: 1, newQuantity: 2, reason: "sale" };
    const other = globalThis.tidings.connect(url, { retryTimeoutMs: 0 });
    return other.publish("inventory-change", data).catch((error: client.TidingsError) => [error.code, error.message]);
  }, own.url);
  expect(failed).toEqual(["network", expect.stringMatching(
    /^cannot reach the daemon at http:.*: Failed to fetch; check the URL, .* origin; the browser's console and network panel show the reason$/,
  )]);
  // Beside those of the browser itself.
  const ours = lines.filter((line) => line.startsWith("tidings:"));
  expect(ours).toEqual([expect.stringContaining(`cannot reach the daemon at ${own.url}: Failed to fetch; check the URL`)]);
  await page.close();
});

test("a page sends its token as the first frame, renews it on the live connection, and stops when it is refused", async () => {
  const fake = await FakeDaemon.start();
  try {
    const page = await browser.newPage();
    await page.goto(site.origin);
    await page.evaluate((url) => {
      let count = 0;
      globalThis.bus = globalThis.tidings.connect(url, { token: () => Promise.resolve(`t${++count}`) });
      globalThis.bus.onError(() => {});
      globalThis.bus.on("inventory-change", () => {});
    }, fake.url);
    const peer = await fake.connection();
    expect(await peer.receiveToken()).toBe("t1");
    peer.welcome(25_000, 1_000);
    await peer.confirmSubscribe();
    expect(await peer.receiveToken()).toBe("t2");
    peer.send({ type: "authenticated" });
    peer.socket.close(4004);
    await page.waitForFunction(() => globalThis.bus.state.status === "closed");
    const state = await page.evaluate(() => {
      const { state } = globalThis.bus;
      return state.status === "closed" ? [state.error?.code, state.error?.status] : [];
    });
    expect(state).toEqual(["unauthenticated", 4004]);
    // No header and no URL of the page has the token.
    expect(fake.authorizations).toEqual([undefined]);
    await page.close();
  } finally {
    await fake.stop();
  }
});

test("a page receives compressed events", async () => {
  const own = await Daemon.start(["--compression"]);
  try {
    const { page, pageErrors } = await subscribed(own.url);
    const agreed = await page.evaluate(async (url) => {
      const socket = new WebSocket(url);
      await new Promise((resolve) => socket.addEventListener("open", resolve));
      socket.close();
      return socket.extensions;
    }, `${own.url.replace("http", "ws")}/v1/ws`);
    expect(agreed).toMatch(/^permessage-deflate; server_no_context_takeover/);
    const data = Array.from({ length: 200 }, (_, newQuantity) => ({
      productId: "123", oldQuantity: 100, newQuantity, reason: "sale of the day, ".repeat(newQuantity % 60 + 1),
    }));
    await own.publish(data.map((data) => ({ type: "inventory-change", data })));
    await page.waitForFunction(() => globalThis.seen.length >= 200);
    expect(await page.evaluate(() => globalThis.seen)).toEqual(data);
    expect(await own.metric("tidings_events_compressed_total")).toBe(200);
    expect(pageErrors).toEqual([]);
  } finally {
    await own.kill();
  }
});
