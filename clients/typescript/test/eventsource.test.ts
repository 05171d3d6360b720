// The EventSource of a real browser on `GET /v1/stream`, without the client library.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { launch } from "./chromium.js";
import { Daemon } from "./daemon.js";
import { Proxy } from "./proxy.js";

/** What the page has received: the numbers of the events, and the gaps. */
interface Seen {
  numbers: number[];
  gaps: { type: string; channel: string; from: string; position: string }[];
  /** The id of the last message of any kind. */
  last: string;
  opened: number;
}

declare global {
  var followed: Seen;
}

const channel = "inventory-change";
/** Events with the numbers from `first` up to and including `last`. */
const sales = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => ({
    type: channel,
    data: { productId: "123", oldQuantity: 0, newQuantity: first + index, reason: "sale" },
  }));
const numbers = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
});

/** Opens a page on the origin of the daemon, which follows the channel. */
async function following(url: string): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(`${url}/healthz`);
  await page.evaluate(async (channel) => {
    globalThis.followed = { numbers: [], gaps: [], last: "", opened: 0 };
    const source = new EventSource(`/v1/stream?channel=${channel}`);
    source.addEventListener(channel, ({ data, lastEventId }) => {
      globalThis.followed.numbers.push(JSON.parse(data).data.newQuantity);
      globalThis.followed.last = lastEventId;
    });
    source.addEventListener("gap", ({ data, lastEventId }) => {
      globalThis.followed.gaps.push(JSON.parse(data));
      globalThis.followed.last = lastEventId;
    });
    source.addEventListener("open", () => globalThis.followed.opened++);
    await new Promise((resolve) => source.addEventListener("open", resolve));
  }, channel);
  return page;
}

const seen = (page: Page) => page.evaluate(() => globalThis.followed);

/** Waits until the page has received this many events, and returns all that it has received. */
async function sees(page: Page, events: number): Promise<Seen> {
  await page.waitForFunction((events) => globalThis.followed.numbers.length >= events, events);
  return seen(page);
}

test("an EventSource resumes after its connection is cut", async () => {
  const daemon = await Daemon.start();
  const proxy = await Proxy.before(daemon.port);
  try {
    const page = await following(proxy.url);
    // Before the first event.
    proxy.close();
    await daemon.publish(sales(1, 50));
    proxy.mend();
    expect((await sees(page, 50)).numbers).toEqual(numbers(50));
    // Cut the connection in the middle of a batch, and publish another one meanwhile.
    const publishing = daemon.publish(sales(51, 550));
    await page.waitForFunction(() => globalThis.followed.numbers.length > 50);
    proxy.close();
    await publishing;
    await daemon.publish(sales(551, 600));
    proxy.mend();
    const { numbers: all, gaps, opened } = await sees(page, 600);
    expect(all).toEqual(numbers(600));
    expect(gaps).toEqual([]);
    expect(opened).toBe(3);
    await page.close();
  } finally {
    await proxy.stop();
    await daemon.kill();
  }
});

test("an EventSource receives a gap when the log was lost, and continues after it", async () => {
  const daemon = await Daemon.start();
  let again: Daemon | undefined;
  try {
    const page = await following(daemon.url);
    await daemon.publish(sales(1, 3));
    const before = (await sees(page, 3)).last;
    await daemon.kill();
    again = await Daemon.start([], daemon.port);
    await page.waitForFunction(() => globalThis.followed.gaps.length > 0);
    const { gaps: [gap], last, numbers: old } = await seen(page);
    expect(old).toEqual(numbers(3));
    expect(gap).toMatchObject({ type: "gap", channel });
    expect(last).not.toBe(before);
    expect(gap!.position.split(":")[0]).not.toBe(gap!.from.split(":")[0]);
    await again.publish(sales(4, 6));
    expect((await sees(page, 6)).numbers).toEqual(numbers(6));
    expect((await seen(page)).gaps).toHaveLength(1);
    await page.close();
  } finally {
    await again?.kill();
    await daemon.kill();
  }
});
