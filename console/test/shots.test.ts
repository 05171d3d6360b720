// Pictures of all views, in both colour schemes, wide and narrow, for people to look at: target/console.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, test } from "vitest";

import { browser, Console, Daemon, field, OWN, seed } from "./console.js";

const FOLDER = fileURLToPath(new URL("../../target/console", import.meta.url));

let chromium: Browser;
let daemon: Daemon;
let position: string;

beforeAll(async () => {
  await mkdir(FOLDER, { recursive: true });
  [chromium, daemon] = await Promise.all([browser(), Daemon.start(["--schemas", OWN])]);
  position = await seed(daemon.url);
});
afterAll(async () => {
  await chromium?.close();
  await daemon?.kill();
});

const SEVERAL = "channel=order-status&channel=inventory-change&channel=price-change";

test.each([["light", 1440], ["light", 390], ["dark", 1440], ["dark", 390]] as const)("pictures: %s, %d pixels", async (colorScheme, width) => {
  const opened = await Console.open(chromium, daemon.url, "", { colorScheme, viewport: { width, height: width === 390 ? 844 : 900 } });
  const { page, rows } = opened;
  const shoot = async (name: string, hash?: string) => {
    if (hash !== undefined) await opened.go(hash);
    await opened.isQuiet();
    await page.getByText("Measuring since").waitFor({ state: "detached" });
    if (/\?channel=order-status/.test(hash ?? "")) await rows.first().waitFor();
    await page.screenshot({ path: `${FOLDER}/${name}-${colorScheme}-${width}.png` });
  };
  await shoot("live-begin", "#/live");
  await shoot("live", `#/live?${SEVERAL}&since=start`);
  await rows.nth(1).click();
  await page.getByRole("complementary", { name: "Event" }).waitFor();
  await shoot("live-event");
  await shoot("live-wrap", `#/live?${SEVERAL}&since=start&wrap=yes&where=${encodeURIComponent('{"inventory-change":{"reason":{"prefix":"counted"}},"order-status":{"newStatus":["shipped","delivered"]}}')}`);
  await shoot("live-refused", "#/live?channel=no-such-channel");
  await shoot("history", `#/history?${SEVERAL}`);
  await page.locator(".list-rows").focus();
  for (const key of [" ", "ArrowDown", " "]) await page.keyboard.press(key);
  await page.getByRole("button", { name: "Publish again…" }).click();
  await shoot("history-again");
  await shoot("event-none", "#/event");
  await shoot("event", `#/event?channel=price-change&position=${position}`);
  await page.getByRole("button", { name: "Difference" }).click();
  await page.locator(".difference").waitFor();
  await shoot("event-difference");
  await page.getByRole("button", { name: "Causes" }).click();
  await page.locator(".causes").waitFor();
  await shoot("event-causes");
  await shoot("publish", "#/publish?type=price-change");
  await page.getByRole("button", { name: "Add channels" }).click();
  await page.getByRole("button", { name: "Add labels" }).click();
  await field(page, "was-kind").selectOption({ index: 1 });
  await shoot("publish-filled");
  await page.getByRole("button", { name: "JSON", exact: true }).click();
  await shoot("publish-json");
  await page.getByRole("button", { name: "Form", exact: true }).click();
  await shoot("publish-mistakes", "#/publish?type=order-status");
  await field(page, "orderId").fill("");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.locator(".mistakes").waitFor();
  await shoot("publish-mistakes");
  await shoot("channels", "#/channels");
  await shoot("types", "#/types?type=price-change");
  await shoot("connections", "#/connections");
  await shoot("nodes", "#/nodes");
  await page.getByRole("button", { name: "No token" }).click();
  await page.getByLabel("A token or an API key").waitFor();
  await shoot("token");
  await opened.close();
});
