// Views of routes that not every daemon offers, with answers as the design has them: `/v1/connections`, `/v1/incidents`, rates.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { browser, Console, Daemon } from "./console.js";

let chromium: Browser;
let daemon: Daemon;

beforeAll(async () => {
  [chromium, daemon] = await Promise.all([browser(), Daemon.start()]);
});
afterAll(async () => {
  await chromium?.close();
  await daemon?.kill();
});

const connection = (index: number) => ({
  id: `c${index}`,
  transport: index % 3 === 0 ? "sse" : "websocket",
  address: `192.0.2.${index}:50${100 + index}`,
  principal: index % 2 === 0 ? "shop-backend" : null,
  namespace: "default",
  since: new Date(Date.now() - index * 3_600_000).toISOString(),
  subscriptions: index,
  bufferedBytes: index === 1 ? 700_000 : 0,
  delivered: index * 12_345,
});

test("Connections lists the largest buffers first, and counts closes by code", async () => {
  const opened = await Console.open(chromium, daemon.url);
  const { page } = opened;
  const asked: string[] = [];
  await page.route("**/v1/connections?*", async (route) => {
    asked.push(new URL(route.request().url()).search);
    await route.fulfill({ json: { connections: [1, 2, 3, 4].map(connection), total: 9_876, closed: { 1000: 12, 4008: 3, 4999: 0 } } });
  });
  await opened.view("Connections");
  await page.getByText("9,876", { exact: true }).waitFor();
  expect(asked[0]).toBe("?sort=buffered&limit=100");
  expect(await page.getByRole("row", { name: /192\.0\.2\.1:/ }).textContent()).toContain("683.6 KiB");
  await page.getByText("slow consumer").waitFor();
  await page.getByText("The first 4 of 9,876.").waitFor();
  await opened.isAccessible();
  await page.getByRole("button", { name: "Oldest" }).click();
  await expect.poll(() => asked.at(-1)).toBe("?sort=age&limit=100");
  await opened.close();
});

test("Nodes has a timeline of incidents, newest first", async () => {
  const opened = await Console.open(chromium, daemon.url);
  const { page } = opened;
  const time = (secondsAgo: number) => new Date(Date.now() - secondsAgo * 1_000).toISOString();
  const incidents = [
    { time: time(90), node: "n1", kind: "gap", channel: "order-status", detail: "events after k3:12, up to k3:40, are lost" },
    { time: time(10), node: "n1", kind: "close-4008", detail: "a slow consumer was disconnected" },
  ];
  await page.route("**/v1/incidents*", (route) => route.fulfill({ json: { incidents } }));
  await opened.view("Nodes");
  await expect.poll(() => page.locator(".timeline .kind").allTextContents()).toEqual(["close-4008", "gap"]);
  await opened.isAccessible();
  await opened.close();
});

test("Channels shows the daemon's own rates and counts where it has them", async () => {
  const opened = await Console.open(chromium, daemon.url);
  const { page } = opened;
  const channels = [{ type: "order-status", schema: "urn:x", position: "k3:42", retained: 42, subscribers: 2, ratePerSecond: 3.25, published: 1_000_042, duplicates: 7, refused: 5 }];
  // A rate as the daemon writes it: no double is written so by a browser.
  const quiet = '{"type":"data-update","schema":"urn:y","position":"k3:0","retained":0,"subscribers":0,"ratePerSecond":0.0,"published":0,"duplicates":0,"refused":0}';
  await page.route("**/v1/channels", (route) => route.fulfill({ contentType: "application/json", body: `{"channels":[${JSON.stringify(channels[0])},${quiet}]}` }));
  await opened.view("Channels");
  await page.getByRole("row", { name: /data-update.*0\/s/ }).waitFor();
  const row = page.getByRole("row", { name: /order-status/ });
  await row.waitFor();
  for (const text of ["3.3/s", "1,000,042", "7", "5"]) await row.getByText(text, { exact: true }).waitFor();
  await opened.isAccessible();
  await opened.close();
});
