// What the console of a page says when the daemon refuses it: the reason by its name, over a WebSocket and over an event stream.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import type * as client from "../src/index.js";
import { Authority } from "./authority.js";
import { launch } from "./chromium.js";
import { Site } from "./site.js";

declare global {
  // The globals of the page.
  var tidings: typeof client;
  var bus: client.Bus;
}

let authority: Authority;
let allowed: Site;
let other: Site;
let browser: Browser;

beforeAll(async () => {
  [allowed, other] = [await Site.start(), await Site.start()];
  authority = await Authority.start("--allowed-origins", allowed.origin);
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  allowed?.stop();
  other?.stop();
  await authority?.stop();
});

/** The lines of the client in the console of a page which subscribes to a channel. */
async function lines(site: Site, token: string | undefined, channel: "order-status" | "finance-change", transports: client.Transport[]) {
  const page = await browser.newPage();
  const lines: string[] = [];
  page.on("console", (message) => message.text().startsWith("tidings:") && lines.push(message.text()));
  await page.goto(site.origin);
  await page.evaluate(([url, token, channel, transports]) => {
    globalThis.bus = globalThis.tidings.connect(url, { token, transports, backoff: { minMs: 1, maxMs: 50 } });
    globalThis.bus.on(channel, () => {});
  }, [authority.daemon.url, token, channel, transports] as const);
  return { page, lines };
}

test.each([["websocket"], ["sse"]] as const)("a refused origin is named in the page's console, with the setting to change: %s", async (transport) => {
  const { page, lines: said } = await lines(other, await authority.token("u", "*", "1h"), "order-status", [transport]);
  const expected = new RegExp(`${authority.daemon.url} responds, but not to pages of the origin ${other.origin}.*--allowed-origins ${other.origin}`);
  await expect.poll(() => said).toContainEqual(expect.stringMatching(expected));
  await page.close();
});

test("a page with the default transports names a refused origin once", async () => {
  const { page, lines: said } = await lines(other, undefined, "order-status", ["websocket", "sse", "long-poll"]);
  await expect.poll(() => said).toContainEqual(expect.stringContaining(`origin ${other.origin}`));
  await page.waitForFunction(() => globalThis.bus.state.status === "reconnecting" && globalThis.bus.state.attempt > 6);
  expect(said).toHaveLength(1);
  await page.close();
});

test("a daemon that comes back while the page asks why it was away is not taken for one that refuses the origin", async () => {
  const modes: unknown[] = [];
  const daemon = createServer((request, response) => {
    const mode = request.headers["sec-fetch-mode"];
    modes.push(mode);
    // It is away for the first request that the page could have read.
    if (modes.filter((other) => other === "cors").length === 1 && mode === "cors") return void request.socket.destroy();
    const headers = { "access-control-allow-origin": allowed.origin, "content-type": "application/problem+json" };
    response.writeHead(426, headers).end(JSON.stringify({ code: "upgrade-required", status: 426 }));
  });
  daemon.on("upgrade", (_request, socket) => {
    modes.push("websocket");
    socket.destroy();
  });
  await new Promise<void>((resolve) => daemon.listen(0, "127.0.0.1", resolve));
  const page = await browser.newPage();
  await page.goto(allowed.origin);
  const errors = await page.evaluate(async (url) => {
    const codes: string[] = [];
    const bus = globalThis.tidings.connect(url, { transports: ["websocket"], backoff: { minMs: 1, maxMs: 50 } });
    bus.onError(({ code }) => codes.push(code));
    bus.on("order-status", () => {});
    while (!codes.includes("network") && !codes.includes("forbidden-origin")) await new Promise((resolve) => setTimeout(resolve, 10));
    bus.close();
    return codes;
  }, `http://127.0.0.1:${(daemon.address() as AddressInfo).port}`);
  expect(modes).toContain("no-cors");
  expect(errors).toEqual(["network"]);
  await page.close();
  daemon.close();
});

test.each([["websocket"], ["sse"]] as const)("a missing grant is named in the page's console: %s", async (transport) => {
  const { page, lines: said } = await lines(allowed, await authority.token("u", "order-status", "1h"), "finance-change", [transport]);
  await expect.poll(() => said).toEqual([expect.stringMatching(/finance-change|not allow|grant/)]);
  await page.close();
});

test.each([["websocket"], ["sse"]] as const)("a 401 is named in the page's console, with what to do: %s", async (transport) => {
  for (const [token, advice] of [["not-a-token", "its log says why"], [undefined, "pass a token to connect, as the option token"]] as const) {
    const { page, lines: said } = await lines(allowed, token, "order-status", [transport]);
    await expect.poll(() => said).toEqual([expect.stringContaining(advice)]);
    await page.waitForFunction(() => globalThis.bus.state.status === "closed");
    await page.close();
  }
});

test("a page that cannot load the explanation either still says what it could not reach", async () => {
  const page = await browser.newPage();
  await page.route("**/explain-*", (route) => route.abort());
  await page.goto(allowed.origin);
  const failed = await page.evaluate(async (url) => {
    const bus = globalThis.tidings.connect(url, { retryTimeoutMs: 0 });
    const data = { productId: "1", oldQuantity: 1, newQuantity: 2, reason: "sale" };
    return bus.publish("inventory-change", data).catch(({ code, message, ids }: client.TidingsError) => [code, message, ids.length]);
  }, "http://127.0.0.1:1");
  expect(failed).toEqual(["network", "cannot reach the daemon at http://127.0.0.1:1: TypeError: Failed to fetch", 1]);
  await page.close();
});
