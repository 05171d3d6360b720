// The built package in a real browser: no bundler, no Node, the runtime's own WebSocket.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import type * as client from "../src/index.js";
import { Daemon } from "./daemon.js";

declare global {
  // What the page has.
  var tidings: typeof client;
  var bus: client.Bus;
  var seen: client.InventoryChange[];
}

const PAGE = `<!doctype html>
<title>tidings</title>
<link rel="icon" href="data:,">
<script type="module">
  import * as tidings from "/client.js";
  globalThis.tidings = tidings;
</script>`;

const CHROMIUM = process.env["CHROMIUM_BIN"] ?? "/usr/bin/chromium";

let daemon: Daemon;
let site: Server;
let browser: Browser;

beforeAll(async () => {
  if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} is not there: apt-get install chromium, or set CHROMIUM_BIN`);
  daemon = await Daemon.start();
  site = createServer(async (request, response) => {
    if (request.url === "/client.js") {
      const script = await readFile(new URL("../dist/index.js", import.meta.url));
      response.writeHead(200, { "content-type": "text/javascript" }).end(script);
    } else {
      response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
    }
  });
  await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve));
  const args = ["--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  browser = await chromium.launch({ executablePath: CHROMIUM, args });
});

afterAll(async () => {
  await browser?.close();
  site?.close();
  await daemon?.kill();
});

test("a page subscribes, and gets what is published", async () => {
  const page = await browser.newPage();
  const troubles: unknown[] = [];
  page.on("pageerror", (error) => troubles.push(error));
  await page.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}/`);
  await page.evaluate(async (url) => {
    globalThis.seen = [];
    globalThis.bus = globalThis.tidings.connect(url);
    globalThis.bus.on("inventory-change", { where: { productId: "123" } }, (data) => globalThis.seen.push(data));
    await globalThis.bus.ready();
  }, daemon.url);

  const data = { productId: "123", oldQuantity: 100, newQuantity: 95, reason: "sale" };
  for (const productId of ["124", "123"]) {
    const response = await fetch(`${daemon.url}/v1/events`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ type: "inventory-change", data: { ...data, productId } }),
    });
    expect(response.status).toBe(202);
  }
  await page.waitForFunction(() => globalThis.seen.length > 0);
  expect(await page.evaluate(() => globalThis.seen)).toEqual([data]);

  await page.evaluate(() => globalThis.bus.close());
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(0);
  expect(troubles).toEqual([]);
});
