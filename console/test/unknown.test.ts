// Publishing where the answer is lost: nothing is published twice, and the page says what it does not know.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { Redis } from "../../clients/typescript/test/redis.js";
import { browser, Console, Daemon, field } from "./console.js";
import { Lossy } from "./lossy.js";

let chromium: Browser;
let daemon: Daemon;

beforeAll(async () => {
  [chromium, daemon] = await Promise.all([browser(), Daemon.start()]);
});
afterAll(async () => {
  await chromium?.close();
  await daemon?.kill();
});

interface Logged {
  readonly id: string;
  readonly data: Record<string, unknown>;
  readonly causationid?: string;
}

/** The events of a channel, as the log has them. */
async function log(channel: string): Promise<readonly Logged[]> {
  const events: Logged[] = [];
  for (let since = "start"; ; ) {
    const page = (await (await fetch(`${daemon.url}/v1/events?channel=${channel}&limit=1000&since=${since}`)).json()) as { events: { event: Logged }[]; cursor: string };
    if (page.events.length === 0) return events;
    events.push(...page.events.map(({ event }) => event));
    since = page.cursor;
  }
}

const UNKNOWN = "It is not known whether this was published";

test("a publish whose answer is lost is not refused, and pressing again publishes it once", async () => {
  const lossy = await Lossy.start(daemon.url);
  const opened = await Console.open(chromium, lossy.url, "#/publish?type=order-status");
  const { page } = opened;
  const publish = () => page.getByRole("button", { name: "Publish", exact: true }).click();
  const of = async (orderId: string) => (await log("order-status")).filter(({ data }) => data["orderId"] === orderId);
  await field(page, "orderId").fill("lost");
  lossy.answers = 0;
  await publish();
  await page.getByText(UNKNOWN).waitFor();
  expect(await page.getByText("refused").count()).toBe(0);
  await opened.isAccessible();
  // The message and what is known of it outlive another view.
  await opened.view("Types");
  await opened.view("Publish");
  await page.getByText(UNKNOWN).waitFor();
  lossy.answers = Infinity;
  await publish();
  await page.getByText("Already there, and not delivered again").waitFor();
  expect(await page.getByText(UNKNOWN).count()).toBe(0);
  expect(await of("lost")).toHaveLength(1);
  // The next one is a new event, though nothing of it was changed.
  await publish();
  await page.getByText("Accepted at").waitFor();
  expect(await of("lost")).toHaveLength(2);
  await opened.close();
});

test("a message that is changed while its outcome is unknown is not lost silently", async () => {
  const lossy = await Lossy.start(daemon.url);
  const opened = await Console.open(chromium, lossy.url, "#/publish?type=order-status");
  const { page } = opened;
  const publish = () => page.getByRole("button", { name: "Publish", exact: true }).click();
  const orders = async () => (await log("order-status")).map(({ data }) => data["orderId"]).filter((id) => /^(first|second|mistake)$/.test(String(id)));
  await field(page, "orderId").fill("first");
  lossy.answers = 0;
  await publish();
  await page.getByText(UNKNOWN).waitFor();
  lossy.answers = Infinity;
  // A refusal of the changed message says nothing of the first one.
  await field(page, "orderId").fill("");
  await publish();
  await page.getByRole("button", { name: "/data/orderId" }).waitFor();
  await page.getByText(UNKNOWN).waitFor();
  await field(page, "orderId").fill("second");
  await publish();
  await page.getByText("without your changes since").waitFor();
  expect(await orders()).toEqual(["first"]);
  await publish();
  await page.getByText("Accepted at").waitFor();
  expect(await orders()).toEqual(["first", "second"]);
  await opened.close();
});

test("a broker that does not answer leaves the outcome unknown, too", async () => {
  const redis = await Redis.start();
  const node = await Daemon.start(["--broker", redis.url]);
  const opened = await Console.open(chromium, node.url, "#/publish?type=order-status");
  const { page } = opened;
  await redis.stop();
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  // The client tries for 15 s.
  await page.getByText(UNKNOWN).waitFor({ timeout: 45_000 });
  await page.getByText("broker-unavailable").waitFor();
  await opened.close();
  await node.kill();
});

test("History publishes again where it stopped, with the same ids, and says when it is done", async () => {
  const lossy = await Lossy.start(daemon.url);
  const count = 1_100;
  for (let from = 0; from < count; from += 550) {
    await daemon.publish(Array.from({ length: 550 }, (_, index) => ({ type: "inventory-change", data: { productId: `p-${from + index}`, oldQuantity: 1, newQuantity: 2, reason: "count" } })));
  }
  const opened = await Console.open(chromium, lossy.url, "#/history?channel=inventory-change&since=start&order=oldest");
  const { page, rows } = opened;
  await rows.first().waitFor();
  // All that the log has.
  while (await page.getByText(", and more").count()) {
    const before = await page.locator(".status").textContent();
    await page.getByRole("listbox").press("End");
    await page.getByRole("button", { name: "Read on" }).click();
    await expect.poll(() => page.locator(".status").textContent()).not.toBe(before);
  }
  await page.getByRole("listbox").press("Home");
  // The keys of a reader, pressed within the page: a browser that is driven takes a minute for so many.
  await page.getByRole("listbox").evaluate(async (list, count) => {
    for (let index = 0; index < count; index++) {
      for (const key of [" ", "ArrowDown"]) {
        list.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        await new Promise((drawn) => setTimeout(drawn));
      }
    }
  }, count);
  const chosen = page.getByRole("region", { name: "Chosen events" });
  await chosen.getByText("1,100 chosen").waitFor();
  await chosen.getByRole("button", { name: "Publish again…" }).click();
  // The answer to the second request is lost.
  lossy.answers = 1;
  await chosen.getByRole("button", { name: "Publish", exact: true }).click();
  await chosen.getByText("It is not known whether the rest was published").waitFor();
  await chosen.getByText("Publish these 100 events").waitFor();
  await opened.isAccessible();
  lossy.answers = Infinity;
  await chosen.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByText("1,100 events were published again").waitFor();
  const again = (await log("inventory-change")).filter(({ causationid }) => causationid !== undefined);
  expect(again.map(({ data }) => data["productId"])).toEqual(Array.from({ length: count }, (_, index) => `p-${index}`));
  await opened.close();
}, 120_000);
