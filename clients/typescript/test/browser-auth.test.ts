// A new user's way to a page that receives its own orders: `tidings auth init`, tokens, and a real browser.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import type * as client from "../src/index.js";
import { launch } from "./chromium.js";
import { BINARY, Daemon } from "./daemon.js";
import { Site } from "./site.js";

declare global {
  // The globals of the page.
  var tidings: typeof client;
  var bus: client.Bus;
  var states: string[];
  var orders: string[];
}

let folder: string;
let daemon: Daemon;
let browser: Browser;
let allowed: Site;
let other: Site;
/** The token that may do everything. */
let operator: string;
/** How many tokens the site has handed out. */
let issued = 0;

/** Runs a command of the program in the folder, and returns its output. */
async function tidings(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(BINARY, args, { cwd: folder });
  return stdout.trim();
}

/** A token of the customer u42, for this long. */
function customerToken(ttl: string): Promise<string> {
  return tidings("token", "issue", "--sub", "u42", "--subscribe", "order-status:customerId=u42", "--ttl", ttl);
}

async function publish(orderId: string, customerId: string): Promise<void> {
  const response = await fetch(`${daemon.url}/v1/events`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${operator}` },
    body: JSON.stringify({ type: "order-status", data: { orderId, newStatus: "shipped", customerId } }),
  });
  expect(response.status).toBe(202);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tidings-auth-"));
  allowed = await Site.start(async () => {
    issued++;
    return customerToken("5s");
  });
  other = await Site.start(() => customerToken("1h"));
  await tidings("auth", "init");
  // The daemon's clock is the issuer's: so the tokens end on time, and are renewed soon.
  const file = join(folder, "auth.toml");
  await writeFile(file, `clock_skew = "0s"\n${await readFile(file, "utf8")}`);
  operator = await tidings("token", "issue", "--sub", "me", "--publish", "*", "--subscribe", "*", "--admin", "revoke,metrics");
  await writeFile(join(folder, "me.token"), operator, { mode: 0o600 });
  daemon = await Daemon.start(["--auth", file, "--allowed-origins", allowed.origin]);
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  allowed?.stop();
  other?.stop();
  await daemon?.kill();
  await rm(folder, { recursive: true, force: true });
});

/** Opens a page of this site that collects the orders which it gets, and the states of its bus. */
async function open(site: Site): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(site.origin);
  await page.evaluate((url) => {
    [globalThis.orders, globalThis.states] = [[], []];
    const token = async () => (await fetch("/token")).text();
    globalThis.bus = globalThis.tidings.connect(url, { token, backoff: { minMs: 1, maxMs: 50 } });
    globalThis.bus.onError(() => {});
    globalThis.bus.onState((state) => globalThis.states.push(state.status));
    globalThis.bus.on("order-status", (data) => globalThis.orders.push(data.orderId));
    globalThis.bus.ready().catch(() => {});
  }, daemon.url);
  return page;
}

const orders = (page: Page) => page.evaluate(() => globalThis.orders);

test("without a token nobody gets anything, and the answer says what is needed", async () => {
  const response = await fetch(`${daemon.url}/v1/events?channel=order-status`);
  expect(response.status).toBe(401);
  expect(response.headers.get("www-authenticate")).toBe("Bearer");
  expect(await response.text()).toContain("Authorization: Bearer");
});

test("a page sees its own orders only, renews its token, and ends when it is revoked", async () => {
  const page = await open(allowed);
  const sockets: unknown[] = [];
  page.on("websocket", (socket) => sockets.push(socket));
  await page.waitForFunction(() => globalThis.bus.state.status === "open");
  await page.evaluate(() => globalThis.bus.ready());
  await publish("1", "u43");
  await publish("2", "u42");
  await expect.poll(() => orders(page)).toEqual(["2"]);

  // Each token is good for five seconds: orders come under the third one, on the same connection.
  await expect.poll(() => issued).toBeGreaterThanOrEqual(3);
  await publish("3", "u43");
  await publish("4", "u42");
  await expect.poll(() => orders(page)).toEqual(["2", "4"]);
  expect(await page.evaluate(() => globalThis.states)).toEqual(["connecting", "open"]);

  // The page has no other right.
  const refused = await page.evaluate(async () => {
    const data = { orderId: "5", newStatus: "shipped", customerId: "u42" } as const;
    return globalThis.bus.publish("order-status", data).then(() => "accepted", (error: client.TidingsError) => error.code);
  });
  expect(refused).toBe("forbidden");

  const before = issued;
  await tidings("token", "revoke", "--sub", "u42", "--url", daemon.url, "--token-file", "me.token");
  await page.waitForFunction(() => globalThis.bus.state.status === "closed");
  const state = await page.evaluate(() => {
    const { state } = globalThis.bus;
    return state.status === "closed" ? [state.error?.code, state.error?.status] : [];
  });
  expect(state).toEqual(["unauthenticated", 4004]);
  await publish("6", "u42");
  // Another page comes and goes meanwhile: the first one asks for nothing any more.
  const later = await browser.newPage();
  await later.goto(other.origin);
  await later.close();
  expect(await page.evaluate(() => globalThis.states)).toEqual(["connecting", "open", "closed"]);
  expect(await orders(page)).toEqual(["2", "4"]);
  // One connection, perhaps opened before the test listened, and none after the revocation.
  expect(sockets.length).toBeLessThanOrEqual(1);
  expect(issued).toBeLessThanOrEqual(before + 1);
  await page.close();
});

test("a page of another origin gets nothing, whatever its token", async () => {
  const page = await open(other);
  await page.waitForFunction(() => globalThis.states.includes("reconnecting"));
  const [socket, request] = await page.evaluate(async (url) => {
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/ws`);
    const closed = new Promise<string>((resolve) => {
      socket.addEventListener("open", () => resolve("open"));
      socket.addEventListener("close", () => resolve("refused"));
    });
    const headers = { authorization: `Bearer ${await (await fetch("/token")).text()}` };
    const answer = fetch(`${url}/v1/events?channel=order-status`, { headers }).then(() => "answered", () => "refused");
    return Promise.all([closed, answer]);
  }, daemon.url);
  expect([socket, request]).toEqual(["refused", "refused"]);
  expect(await page.evaluate(() => globalThis.states)).not.toContain("open");
  expect(await orders(page)).toEqual([]);
  const answer = await fetch(`${daemon.url}/v1/events`, { headers: { origin: other.origin, authorization: `Bearer ${operator}` } });
  expect([answer.status, await answer.text()]).toEqual([403, expect.stringContaining("allowed_origins")]);
  await page.close();
});
