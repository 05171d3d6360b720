// What holds for the whole page: below a path of a proxy, by keyboard alone, hidden, with numbers that no double holds.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { BIG, browser, Console, Daemon, field, OWN, seed } from "./console.js";
import { nginx } from "./nginx.js";

let chromium: Browser;
let daemon: Daemon;

beforeAll(async () => {
  [chromium, daemon] = await Promise.all([browser(), Daemon.start(["--schemas", OWN])]);
  await seed(daemon.url);
});
afterAll(async () => {
  await chromium?.close();
  await daemon?.kill();
});

test("every view works below a path of a proxy", async () => {
  const url = await nginx(daemon.url);
  const opened = await Console.open(chromium, url, "#/live?channel=order-status");
  const { page } = opened;
  await opened.isFollowing();
  await opened.view("Publish");
  await page.getByLabel("Type", { exact: true }).selectOption("order-status");
  await field(page, "orderId").fill("behind-nginx");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByText("Accepted at").waitFor();
  await page.getByRole("status").getByRole("link").click();
  await page.getByText("behind-nginx").first().waitFor();
  for (const [view, shows] of [["History", "Choose what to read"], ["Channels", "inventory-change"], ["Types", "The price of a product changed"], ["Connections", /Open|There is no/], ["Nodes", "can publish and receive"]] as const) {
    await opened.view(view);
    if (view === "Types") await page.getByRole("link", { name: "price-change" }).click();
    await page.getByText(shows).first().waitFor();
  }
  const outside = opened.requests.filter((request) => !request.url().startsWith(`${url}/`));
  expect(outside.map((request) => request.url())).toEqual([]);
  await opened.close();
});

test("everything can be done by keyboard", async () => {
  const opened = await Console.open(chromium, daemon.url);
  const { page } = opened;
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent ?? "");
  /** Presses Tab until something with this name has the focus. */
  const tabTo = async (name: RegExp) => {
    for (let presses = 0; presses < 60; presses++) {
      await page.keyboard.press("Tab");
      if (name.test(await focused())) return;
    }
    throw new Error(`${name} cannot be reached; the focus is on ${await focused()}`);
  };
  await page.getByRole("button", { name: "order-status" }).waitFor();
  // The first stop leads past the links of the views.
  await page.keyboard.press("Tab");
  expect(await focused()).toBe("To the content");
  await page.keyboard.press("Enter");
  await tabTo(/^order-status$/);
  await page.keyboard.press("Enter");
  await opened.isFollowing();
  await page.locator("body").press("Tab");
  await page.getByLabel("Where to begin").press("End");
  // New rows come above: before all are there, the first row may be the last one, too.
  await page.getByRole("listbox", { name: /^Events, 4\d$/ }).waitFor();
  // The list is one stop. Arrow keys move in it, Enter opens, Escape closes.
  await tabTo(/^Events, /);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  const panel = page.getByRole("complementary", { name: "Event" });
  await panel.waitFor();
  const first = await panel.textContent();
  await page.keyboard.press("End");
  await expect.poll(() => panel.textContent()).not.toBe(first);
  await page.keyboard.press("Escape");
  await panel.waitFor({ state: "detached" });
  // A menu opens and closes, and gives the focus back.
  await tabTo(/^Copy as…$/);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "TypeScript" }).waitFor();
  await page.keyboard.press("Escape");
  expect(await page.getByRole("button", { name: "TypeScript" }).isVisible()).toBe(false);
  expect(await focused()).toMatch(/^Copy as/);
  // A message is published without the mouse.
  await tabTo(/^Publish$/).catch(async () => page.getByRole("link", { name: "Publish", exact: true }).focus());
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Publish" }).waitFor();
  await page.getByLabel("Type", { exact: true }).focus();
  await page.keyboard.press("Control+Enter");
  await page.getByText("Accepted at").waitFor();
  // The dialog keeps the focus while it is open.
  await page.getByRole("button", { name: "No token" }).focus();
  await page.keyboard.press("Enter");
  await page.getByLabel("A token or an API key").waitFor();
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.closest("dialog") !== null)).toBe(true);
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" }).catch(() => {});
  expect(await page.locator("dialog[open]").count()).toBe(0);
  await opened.close();
});

test("a hidden tab asks for nothing, and a visible one pulls", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/channels");
  const { page, requests } = opened;
  const asked = () => requests.filter((request) => request.url().endsWith("/v1/channels")).length;
  // One for the list of channels, two for the view, and the first that pulls: what the view begins with is over.
  await expect.poll(asked).toBeGreaterThan(3);
  await opened.setVisible(false);
  const before = requests.length;
  // The page's own clock goes on for a minute.
  await page.clock.install();
  await page.clock.runFor(60_000);
  expect(requests.length - before).toBeLessThanOrEqual(0);
  await opened.setVisible(true);
  await expect.poll(() => requests.length).toBeGreaterThan(before);
  await opened.close();
});

test("numbers are shown and sent as they were written", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/live?channel=price-change&since=start");
  const { page, rows } = opened;
  await rows.filter({ hasText: BIG }).first().waitFor();
  const publish = (amount: string) =>
    fetch(`${daemon.url}/v1/events`, { method: "POST", headers: { "content-type": "application/json" }, body: `{"type":"price-change","data":{"sku":"exact","price":{"amount":${amount},"currency":"EUR"}}}` });
  const written = ["18446744073709551616", "-0", "1E5", "5.0", "123456789012345678901234567890"];
  for (const amount of written) expect((await publish(amount)).status, amount).toBe(202);
  await expect.poll(() => rows.filter({ hasText: "exact" }).count()).toBe(written.length);
  const texts = (await rows.filter({ hasText: "exact" }).allTextContents()).map((text) => /"amount":([^,]+),/.exec(text)?.[1]);
  expect(texts.reverse()).toEqual(written);
  // An event that is published again has the same digits.
  await rows.filter({ hasText: "18446744073709551616" }).click();
  await page.getByRole("button", { name: "Publish again…" }).click();
  expect(await field(page, "price/amount").inputValue()).toBe("18446744073709551616");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByText("Accepted at").waitFor();
  const text = await (await fetch(`${daemon.url}/v1/events?channel=price-change&limit=1000`)).text();
  expect(text.split('"amount":18446744073709551616,').length - 1).toBe(2);
  await opened.close();
});

test("what has no address is a view, and what is lost is said", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/no-such-view");
  const { page } = opened;
  await page.getByText("Choose what to follow").waitFor();
  await opened.go("#/event?channel=order-status&position=nowhere:9");
  await page.getByText(/Not in the log|refused this/).waitFor();
  await opened.go("#/live?channel=no-such-channel");
  await page.getByText("is not followed").waitFor();
  await opened.isAccessible();
  await opened.close();
});

// With `CONSOLE_DIST=1`, the files do not come from the daemon.
test.skipIf(process.env["CONSOLE_DIST"])("a view that is opened while the daemon is down says so, and opens when it is back", async () => {
  const first = await Daemon.start();
  const opened = await Console.open(chromium, first.url, "#/live");
  const { page } = opened;
  await page.getByRole("button", { name: "order-status" }).waitFor();
  await first.kill();
  await page.getByRole("link", { name: "History" }).click();
  await page.getByText("The daemon does not answer.").waitFor();
  expect(await page.getByText("updated").count()).toBe(0);
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("The daemon does not answer.").waitFor();
  const second = await Daemon.start([], first.port);
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("Choose what to read").waitFor();
  await opened.close();
  await second.kill();
});
