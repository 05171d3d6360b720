// Live beside more events than a page can show: it samples, says so, counts exactly, and follows again when it is calm.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import { browser, Console, Daemon } from "./console.js";

/** For pictures. */
const FOLDER = fileURLToPath(new URL("../../target/console", import.meta.url));

let chromium: Browser;
let daemon: Daemon;

beforeAll(async () => {
  await mkdir(FOLDER, { recursive: true });
  chromium = await browser();
});
afterAll(() => chromium?.close());
beforeEach(async () => {
  daemon = await Daemon.start();
});
afterEach(() => daemon.kill());

const sale = (productId: string, reason = "sale") => ({ type: "inventory-change", data: { productId, oldQuantity: 1, newQuantity: 0, reason } });

/** Publishes batches of 1,000 sales, one after the other. `stop` resolves with how many events there were. */
function flood(reason?: (index: number) => string): { stop: () => Promise<number> } {
  let isOver = false;
  const all = (async () => {
    let count = 0;
    while (!isOver) {
      await daemon.publish(Array.from({ length: 1_000 }, (_, index) => sale(`p-${index % 10}`, reason?.(index))));
      count += 1_000;
    }
    return count;
  })();
  return { stop: () => ((isOver = true), all) };
}

/** What the view says of how many events there were, and how many of them it shows. */
async function counts(page: Page): Promise<{ shown: number; total: number }> {
  const text = (await page.locator(".status").textContent()) ?? "";
  const [, shown, total] = /([\d,]+) of (?:about )?([\d,]+) events shown/.exec(text) ?? [];
  const all = /([\d,]+) events?(?! shown)/.exec(text)?.[1];
  const number = (digits: string | undefined) => Number((digits ?? "0").replaceAll(",", ""));
  return shown ? { shown: number(shown), total: number(total) } : { shown: number(all), total: number(all) };
}

test("of too many events Live shows some, says how many there were, and then follows again", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/live?channel=inventory-change&channel=order-status");
  const { page, rows } = opened;
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
  const { stop } = flood();
  await page.getByText("following, sampled").waitFor();
  // It asks for what it shows, and gets nothing else.
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(0);
  await rows.filter({ hasText: "too many to show" }).first().waitFor({ state: "attached" });
  for (const [colorScheme, width] of [["dark", 1440], ["dark", 390], ["light", 390], ["light", 1440]] as const) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    await opened.isAccessible();
    await page.screenshot({ path: `${FOLDER}/live-sampled-${colorScheme}-${width}.png` });
  }
  // A quiet channel is followed as before.
  expect(await daemon.subscribers("order-status")).toBe(1);
  const published = await stop();
  await page.getByText("following, sampled").waitFor({ state: "detached" });
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
  // Each event was either shown or counted.
  const { shown, total } = await counts(page);
  expect(total).toBe(published);
  expect(await page.locator(".status").textContent()).not.toContain("about");
  expect(shown).toBeLessThan(total);
  await daemon.publish([sale("the-last")]);
  await rows.filter({ hasText: "the-last" }).waitFor();
  expect((await counts(page)).total).toBe(published + 1);
  // The row before the events that were left out leads to them.
  await page.getByRole("button", { name: "Pause" }).click();
  const leftOut = rows.filter({ hasText: "too many to show" }).first();
  // Below the last events, which are followed one by one.
  await expect.poll(async () => {
    await page.locator(".list").evaluate((list) => list.scrollBy(0, 300));
    return leftOut.count();
  }).toBe(1);
  await leftOut.click();
  await page.getByText("are left out").waitFor();
  await opened.isAccessible();
  await page.getByRole("complementary").getByRole("link", { name: "History" }).click();
  await page.getByRole("heading", { level: 1, name: "History" }).waitFor();
  await opened.close();
});

test("with a filter that few events pass, Live shows each of them beside a flood", async () => {
  const where = encodeURIComponent('{"inventory-change":{"reason":"count"}}');
  const opened = await Console.open(chromium, daemon.url, `#/live?channel=inventory-change&where=${where}`);
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
  const { stop } = flood((index) => (index % 100 === 0 ? "count" : "sale"));
  await opened.rows.first().waitFor();
  const published = await stop();
  await expect.poll(() => counts(opened.page)).toEqual({ shown: published / 100, total: published / 100 });
  await opened.close();
});

test("with a filter that many events pass, the count of those that are left out is near the truth", async () => {
  const where = encodeURIComponent('{"inventory-change":{"reason":"count"}}');
  const opened = await Console.open(chromium, daemon.url, `#/live?channel=inventory-change&where=${where}`);
  const { page } = opened;
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
  const { stop } = flood((index) => (index % 3 === 0 ? "sale" : "count"));
  await page.getByText("following, sampled").waitFor();
  await expect.poll(() => counts(page).then(({ total }) => total)).toBeGreaterThan(20_000);
  // Each batch has 666 that match.
  const matching = (await stop()) * 0.666;
  await page.getByText("following, sampled").waitFor({ state: "detached" });
  expect(await page.locator(".status").textContent()).toContain(" of about ");
  const { shown, total } = await counts(page);
  expect(shown).toBeLessThan(total);
  expect(total / matching).toBeGreaterThan(0.8);
  expect(total / matching).toBeLessThan(1.2);
  for (const text of await opened.rows.filter({ hasNotText: "too many to show" }).allTextContents()) expect(text).toContain('"reason":"count"');
  await opened.close();
});

test("the newest of a flood is shown when it ends, and a daemon that begins anew is a gap", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/live?channel=inventory-change");
  const { page, rows } = opened;
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
  const { stop } = flood();
  await page.getByText("following, sampled").waitFor();
  await stop();
  await daemon.publish([...Array.from({ length: 999 }, (_, index) => sale(`q-${index}`)), sale("the-newest")]);
  await rows.filter({ hasText: "the-newest" }).waitFor();
  const again = flood();
  await page.getByText("following, sampled").waitFor();
  await again.stop();
  const { port } = daemon;
  await daemon.kill();
  await page.getByText("waiting for the daemon").waitFor();
  daemon = await Daemon.start([], port);
  await rows.filter({ hasText: "are gone from the log" }).first().waitFor({ state: "attached" });
  await daemon.publish([sale("after-all")]);
  await rows.filter({ hasText: "after-all" }).waitFor();
  await opened.close();
});
