// Each view, without authentication: what it shows, in both colour schemes, without a finding of axe.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { BIG, browser, Console, Daemon, field, OWN, seed } from "./console.js";

let chromium: Browser;
let daemon: Daemon;
let position: string;

beforeAll(async () => {
  [chromium, daemon] = await Promise.all([browser(), Daemon.start(["--schemas", OWN])]);
  position = await seed(daemon.url);
});
afterAll(async () => {
  await chromium?.close();
  await daemon?.kill();
});

test("Live does not say that it follows a channel before the daemon has answered for it", async () => {
  const opened = await Console.open(chromium, daemon.url);
  const { page } = opened;
  const held: (() => void)[] = [];
  await page.routeWebSocket(/\/v1\/ws/, (socket) => {
    socket.connectToServer().onMessage((frame) => {
      if (String(frame).startsWith('{"type":"subscribed"')) held.push(() => socket.send(frame));
      else socket.send(frame);
    });
  });
  await page.reload();
  await page.getByRole("button", { name: "order-status" }).click();
  await expect.poll(() => held.length).toBe(1);
  // A page that says so too early does it in far fewer than 60 frames.
  await page.evaluate(() => new Promise<void>((resolve) => {
    let frames = 60;
    const next = () => (frames-- > 0 ? requestAnimationFrame(next) : resolve());
    next();
  }));
  expect(await page.getByRole("status").textContent()).toBe("connecting");
  held[0]!();
  await opened.isFollowing();
  await opened.close();
});

test("Live shows events as they are published, and keeps its state in the address", async () => {
  const opened = await Console.open(chromium, daemon.url);
  const { page, rows } = opened;
  await page.getByRole("button", { name: "order-status" }).click();
  await opened.isFollowing();
  await page.getByRole("button", { name: "+ Filter" }).click();
  await page.getByLabel("Field").selectOption("newStatus");
  await page.getByLabel("Value").selectOption("shipped");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByText("is shipped").waitFor();
  expect(new URL(page.url()).hash).toContain("where=");
  // The one with the filter, not the one before.
  await expect.poll(() => opened.subscribed).toBe(2);
  await daemon.publish(["pending", "shipped", "delivered", "shipped"].map((newStatus, index) => ({ type: "order-status", data: { orderId: `live-${index}`, newStatus } })));
  await expect.poll(() => rows.count()).toBe(2);
  // Newest first.
  expect(await rows.first().textContent()).toContain("live-3");
  // The address alone brings the same selection.
  await page.reload();
  await page.getByText("is shipped").waitFor();
  await page.getByLabel("Where to begin").selectOption("start");
  await expect.poll(() => rows.count()).toBeGreaterThan(2);
  await opened.close();
});

test("Live stands still while it is paused, and tells what waits", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/live?channel=data-update");
  const { page, rows } = opened;
  await expect.poll(() => daemon.subscribers("data-update")).toBe(1);
  const publish = (...ids: string[]) => daemon.publish(ids.map((id) => ({ type: "data-update", data: { resource: "page", id, action: "update" } })));
  await publish("one");
  await expect.poll(() => rows.count()).toBe(1);
  await page.getByRole("button", { name: "Pause" }).click();
  await publish("two", "three");
  await page.getByRole("button", { name: "Show 2 new" }).waitFor();
  expect(await rows.count()).toBe(1);
  await page.getByRole("button", { name: "Show 2 new" }).click();
  await expect.poll(() => rows.count()).toBe(3);
  // Export is what `tidings tail --json` prints.
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export" }).click()]);
  const lines = (await (await download.createReadStream()).toArray()).join("").trim().split("\n");
  expect(lines.map((line) => JSON.parse(line).event.data.id)).toEqual(["one", "two", "three"]);
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByText("Nothing yet").waitFor();
  await opened.close();
});

test("Live counts what happens in its rate, and not what is replayed", async () => {
  const opened = await Console.open(chromium, daemon.url);
  const { page, rows } = opened;
  await page.evaluate(() => {
    const most = { rate: 0 };
    Object.assign(globalThis, { most });
    new MutationObserver(() => (most.rate = Math.max(most.rate, Number(/(\d+)\/s/.exec(document.querySelector(".status")?.textContent ?? "")?.[1] ?? 0)))).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  await page.evaluate(() => (location.hash = "#/live?channel=inventory-change&since=start"));
  await expect.poll(() => rows.count()).toBeGreaterThan(20);
  await daemon.publish([1, 2].map((newQuantity) => ({ type: "inventory-change", data: { productId: "rate", oldQuantity: 0, newQuantity, reason: "sale" } })));
  await page.locator(".status").getByText("1/s").waitFor();
  expect(await page.evaluate(() => (globalThis as unknown as { most: { rate: number } }).most.rate)).toBe(1);
  await opened.close();
});

test("Live goes on where it was after another view and after the tab was hidden", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/live?channel=finance-change");
  const { rows } = opened;
  const publish = (id: string) => daemon.publish([{ type: "finance-change", data: { entity: "payment", id, amountMinor: 1, currency: "EUR" } }]);
  await expect.poll(() => daemon.subscribers("finance-change")).toBe(1);
  await publish("one");
  await expect.poll(() => rows.count()).toBe(1);
  await opened.view("Types");
  await expect.poll(() => daemon.subscribers("finance-change")).toBe(0);
  await publish("two");
  await opened.page.goBack();
  await expect.poll(() => rows.count()).toBe(2);
  await opened.setVisible(false);
  await expect.poll(() => daemon.subscribers("finance-change")).toBe(0);
  await publish("three");
  await opened.setVisible(true);
  await expect.poll(() => rows.allTextContents().then((texts) => texts.map((text) => /one|two|three/.exec(text)?.[0]))).toEqual(["three", "two", "one"]);
  await opened.close();
});

test("Live closes an event that is open, and goes on, when something else is followed", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/live?channel=price-change&since=start");
  const { page, rows } = opened;
  await rows.first().click();
  const panel = page.getByRole("complementary", { name: "Event" });
  await panel.waitFor();
  await page.getByRole("button", { name: "Wrap" }).click();
  expect(await panel.isVisible()).toBe(true);
  await page.getByRole("button", { name: "Pause" }).click();
  await opened.go("#/live?channel=order-status&since=start");
  await rows.filter({ hasText: "order-status" }).first().waitFor();
  expect(await rows.filter({ hasText: "price-change" }).count()).toBe(0);
  expect(await panel.count()).toBe(0);
  await opened.close();
});

test("an event has a tree, its JSON, the difference to the one before, and its causes", async () => {
  const opened = await Console.open(chromium, daemon.url, `#/event?channel=price-change&position=${position}`);
  const { page } = opened;
  await page.getByText(BIG).waitFor();
  await page.getByText("<b>bold?</b> & é ✓").waitFor();
  await page.getByRole("button", { name: "Raw" }).click();
  expect(await page.getByLabel("The event as JSON").textContent()).toContain(`"amount": ${BIG}`);
  await page.getByRole("button", { name: "Difference" }).click();
  const change = page.getByRole("row", { name: /price\.amount/ });
  expect(await change.textContent()).toBe(`price.amount9007199254740991${BIG}`);
  await opened.isAccessible();
  await page.getByRole("button", { name: "Causes" }).click();
  await page.locator(".causes").getByText("cache-invalidate").waitFor();
  await opened.isAccessible();
  await page.locator(".causes a").click();
  await page.getByText("product:p-1").waitFor();
  await page.getByRole("button", { name: "Causes" }).click();
  await page.locator(".causes a").getByText("price-change").waitFor();
  await opened.close();
});

test("Publish has a form of the schema, and shows the daemon's mistakes at their fields", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/publish?type=order-status");
  const { page } = opened;
  await field(page, "orderId").fill("");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByRole("button", { name: "/data/orderId" }).click();
  expect(await field(page, "orderId").evaluate((field) => field === document.activeElement)).toBe(true);
  expect(await field(page, "orderId").getAttribute("aria-invalid")).toBe("true");
  await opened.isAccessible();
  await field(page, "orderId").fill("from-form");
  await field(page, "newStatus").selectOption("delivered");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByText("Accepted at").waitFor();
  await page.getByRole("status").getByRole("link").click();
  await page.getByText("from-form").first().waitFor();
  await opened.close();
});

test("each example that Publish begins with is accepted", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/publish");
  const { page } = opened;
  const options = page.getByLabel("Type", { exact: true }).locator("option");
  await expect.poll(() => options.allTextContents()).toContain("price-change");
  const types = await options.allTextContents();
  for (const type of types) {
    await page.getByLabel("Type", { exact: true }).selectOption(type);
    await page.getByRole("button", { name: "Publish", exact: true }).click();
    await expect.poll(async () => (await page.locator(".done").textContent()) || (await page.locator(".problem").allTextContents()).join()).toContain("Accepted at");
  }
  await opened.close();
});

test("a form has nested values, alternatives and lists; JSON and form are the same message", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/publish?type=price-change");
  const { page } = opened;
  await field(page, "sku").fill("form-1");
  await field(page, "price/amount").fill(BIG);
  await page.getByRole("button", { name: "Add channels" }).click();
  await field(page, "channels/0").selectOption("shop");
  await field(page, "reason-kind").selectOption("kind: match");
  await field(page, "reason/rival").fill("somebody");
  await page.getByRole("button", { name: "Add labels" }).click();
  await page.getByLabel("Name of a new member").first().fill("season");
  await page.getByLabel("Name of a new member").first().press("Enter");
  await field(page, "labels/season").fill("spring");
  await opened.isAccessible();
  await page.getByRole("button", { name: "JSON", exact: true }).click();
  const json = await page.getByLabel("data", { exact: true }).inputValue();
  expect(json).toContain(`"amount": ${BIG}`);
  expect(JSON.parse(json)).toMatchObject({ sku: "form-1", channels: ["shop"], reason: { kind: "match", rival: "somebody" }, labels: { season: "spring" } });
  await page.getByLabel("data", { exact: true }).fill("{");
  await page.getByText("This is no JSON").waitFor();
  await page.getByLabel("data", { exact: true }).fill(json.replace("form-1", "form-2"));
  await page.getByRole("button", { name: "Form", exact: true }).click();
  expect(await field(page, "sku").inputValue()).toBe("form-2");
  await page.keyboard.press("Control+Enter");
  await page.getByText("Accepted at").waitFor();
  // Saved messages stay in the browser.
  await page.getByText("Saved", { exact: true }).click();
  await page.getByLabel("Name for this message").fill("a price");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.reload();
  await page.getByText("Saved: 1").click();
  await page.getByRole("button", { name: /^a price/ }).click();
  expect(await field(page, "price/amount").inputValue()).toBe(BIG);
  await opened.close();
});

test("Channels shows where each channel stands, and how much happens on it", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/channels");
  const { page } = opened;
  const row = page.getByRole("row", { name: /inventory-change/ });
  await expect.poll(() => row.textContent()).toMatch(/:4\d.*4\d/);
  await page.getByRole("img").waitFor();
  // The chart has what this page has measured, and says so.
  await page.getByRole("heading", { name: /^Events a second, measured here since \d\d:\d\d:\d\d$/ }).waitFor();
  await opened.isAccessible();
  await opened.close();
});

test("History reads by time, position and filter, and publishes again what was chosen", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/history?channel=price-change&channel=order-status");
  const { page, rows } = opened;
  await rows.first().waitFor();
  await page.getByRole("button", { name: "+ Filter" }).click();
  await page.getByLabel("Channel", { exact: true }).selectOption("price-change");
  await page.getByLabel("Field").selectOption("price.amount");
  await page.getByLabel("Value").fill(BIG);
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByText(`is ${BIG}`).waitFor();
  const prices = rows.filter({ hasText: "price-change" });
  await expect.poll(() => prices.count()).toBeGreaterThan(0);
  for (const text of await prices.allTextContents()) expect(text).toContain(BIG);
  await opened.isAccessible();
  const before = await retained("price-change");
  await prices.last().locator(".tick").click();
  await page.getByRole("button", { name: "Publish again…" }).click();
  await page.getByText("as new events?").waitFor();
  await page.getByRole("region", { name: "Chosen events" }).getByRole("button", { name: "Publish", exact: true }).click();
  await expect.poll(() => retained("price-change")).toBe(before + 1);
  const { events } = (await (await fetch(`${daemon.url}/v1/events?channel=price-change&limit=1000`)).json()) as { events: { event: Record<string, string> }[] };
  expect(events.at(-1)!.event["causationid"]).toBe(events.find(({ event }) => event["traceparent"] && JSON.stringify(event["data"]).includes("winter"))!.event["id"]);
  await opened.close();
});

async function retained(channel: string): Promise<number> {
  const { channels } = (await (await fetch(`${daemon.url}/v1/channels`)).json()) as { channels: { type: string; retained: number }[] };
  return channels.find(({ type }) => type === channel)!.retained;
}

test("Types shows fields, an example, the TypeScript type, code and sources", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/types?type=price-change");
  const { page } = opened;
  await page.getByRole("row", { name: /channels\?.*web, shop/ }).waitFor();
  expect(await page.getByLabel("TypeScript type", { exact: true }).locator("visible=true").last().textContent()).toContain('channels?: ("web" | "shop")[];');
  await page.getByText("/pricing").waitFor();
  await opened.isAccessible();
  await page.getByRole("button", { name: "curl" }).click();
  expect(await page.locator("pre", { hasText: "/v1/stream" }).textContent()).toContain(`curl -N -G ${daemon.url}/v1/stream`);
  await opened.close();
});

test("Connections and Nodes show what the daemon offers, and say what it does not", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/nodes");
  const { page } = opened;
  await page.getByText("can publish and receive").waitFor();
  await page.getByRole("row", { name: /up.*127\.0\.0\.1/ }).waitFor();
  const offers = async (path: string) => (await fetch(`${daemon.url}${path}`)).status === 200;
  if (!(await offers("/v1/incidents"))) await page.getByText("There is no /v1/incidents at this address.").waitFor();
  await opened.isAccessible();
  await opened.view("Connections");
  if (await offers("/v1/connections")) await page.getByRole("heading", { name: "Open", exact: true }).waitFor();
  else await page.getByText("There is no /v1/connections at this address.").waitFor();
  await opened.isAccessible();
  await opened.close();
});

test.each(["light", "dark"] as const)("axe finds nothing in any view, %s, wide and narrow", async (colorScheme) => {
  for (const width of [1440, 390]) {
    const opened = await Console.open(chromium, daemon.url, "", { colorScheme, viewport: { width, height: 844 } });
    const { page } = opened;
    for (const hash of ["#/live", "#/live?channel=order-status&channel=price-change&since=start", "#/history", "#/history?channel=order-status", "#/event", `#/event?channel=price-change&position=${position}`, "#/publish?type=inventory-change", "#/channels", "#/types", "#/connections", "#/nodes"]) {
      await opened.go(hash);
      await opened.isQuiet();
      if (hash.includes("?channel=order-status")) await opened.rows.first().click();
      await opened.isAccessible();
    }
    await page.getByRole("button", { name: "No token" }).click();
    await page.getByLabel("A token or an API key").waitFor();
    await opened.isAccessible();
    await opened.close();
  }
});
