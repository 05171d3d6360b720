// Connections and Nodes with what a real bus has: clients of each kind with names, three nodes over a Redis, and what goes wrong.
// Pictures of each state are in target/console.

import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { connect as dial, type Socket } from "node:net";
import { fileURLToPath } from "node:url";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { Redis } from "../../clients/typescript/test/redis.js";
import { Authority, browser, Console, Daemon } from "./console.js";

const FOLDER = fileURLToPath(new URL("../../target/console", import.meta.url));
const [LONG, EAST, WEST] = ["eu-central-1a.tidings-statefulset-production-7c9f4b6d58-x2lkq", "east", "west"];
const NAMES = { websocket: "shop-backend", stream: "warehouse-synchronisation-of-the-north-western-region/instance-0042", poll: "büro-münchen", slow: "analytics" };

let chromium: Browser;
let redis: Redis;
let authority: Authority;
let nodes: Daemon[];
const sockets: Socket[] = [];
const abort = new AbortController();

beforeAll(async () => {
  await mkdir(FOLDER, { recursive: true });
  [chromium, redis] = await Promise.all([browser(), Redis.start()]);
  authority = await Authority.start("--broker", redis.url, "--node-id", LONG);
  const other = (id: string) => Daemon.start([...authority.flags, "--broker", redis.url, "--node-id", id]);
  nodes = await Promise.all([other(EAST), other(WEST)]);
});
afterAll(async () => {
  abort.abort();
  sockets.forEach((socket) => socket.destroy());
  await chromium?.close();
  await Promise.all(nodes?.map((node) => node.kill()) ?? []);
  await authority?.stop();
  await redis?.stop();
});

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

/** A WebSocket of its own, so that it can do what no library does. Resolves with its socket after `welcome`. */
async function webSocket(token: string, channel: string): Promise<Socket> {
  const { port } = authority.daemon;
  const socket = dial(port, "127.0.0.1");
  sockets.push(socket);
  socket.write(`GET /v1/ws?channel=${channel} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  socket.on("error", () => {});
  await new Promise<void>((resolve) => socket.on("data", (text) => String(text).includes('"subscribed"') && resolve()));
  return socket;
}

/** A Close frame with this code, with a mask of zeros. */
const close = (code: number) => Buffer.from([0x88, 0x82, 0, 0, 0, 0, code >> 8, code & 0xff]);

interface Listed {
  readonly connections: { readonly principal: string | null; readonly transport: string; readonly bufferedBytes: number; readonly delivered: number }[];
  readonly total: number;
  readonly closed: Record<string, number>;
}

const listed = async (): Promise<Listed> => (await (await fetch(`${authority.daemon.url}/v1/connections`, bearer(authority.operator))).json()) as Listed;
const sale = (reason = "sale") => ({ type: "inventory-change", data: { productId: "p-1", oldQuantity: 1, newQuantity: 0, reason } });
const opening = (token: string, colorScheme: "light" | "dark" = "light", width = 1440) =>
  Console.open(chromium, authority.daemon.url, `#token=${token}`, { colorScheme, viewport: { width, height: width === 390 ? 844 : 900 } });

/** Looks at a view light, dark and narrow, with a picture and axe for each. */
async function everyWay(name: string, token: string, view: string, look: (opened: Console) => Promise<void>): Promise<void> {
  for (const [scheme, width] of [["light", 1440], ["dark", 1440], ["light", 390], ["dark", 390]] as const) {
    const opened = await opening(token, scheme, width);
    await opened.go(`#/${view}`);
    await opened.isQuiet();
    await look(opened);
    await opened.isAccessible();
    await opened.page.screenshot({ path: `${FOLDER}/${name}-${scheme}-${width}.png` });
    // Nothing is wider than the window.
    expect(await opened.page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    await opened.close();
  }
}

test("Connections is empty before anybody comes", async () => {
  await everyWay("connections-empty", authority.operator, "connections", async ({ page }) => {
    await page.getByText("Nobody is connected").waitFor();
    await page.getByText("None since the node started.").waitFor();
  });
  await everyWay("nodes-empty", authority.operator, "nodes", async ({ page }) => {
    await page.getByText("The node that answers remembers no gap").waitFor();
    await expect.poll(() => page.getByRole("row").count()).toBe(4);
  });
});

test("Connections lists clients of each kind with their names, buffers and ends", async () => {
  const token = (name: string) => authority.token(name, "inventory-change", "1h");
  const [own, streaming, polling, slowly] = await Promise.all([token(NAMES.websocket), token(NAMES.stream), token(NAMES.poll), token(NAMES.slow)]);
  for (let index = 0; index < 3; index++) (await webSocket(own, "inventory-change")).resume();
  const { url } = authority.daemon;
  const stream = await fetch(`${url}/v1/stream?channel=inventory-change`, { ...bearer(streaming), signal: abort.signal });
  void stream.body!.pipeTo(new WritableStream()).catch(() => {});
  void fetch(`${url}/v1/events?channel=inventory-change&since=now&wait=30`, { ...bearer(polling), signal: abort.signal }).catch(() => {});
  // Ends: in order, without a Close, and with a code of the client's own.
  const ends = [(socket: Socket) => socket.write(close(1000)), (socket: Socket) => socket.destroy(), (socket: Socket) => socket.write(close(4321))];
  for (const end of ends) end(await webSocket(own, "inventory-change"));
  await expect.poll(async () => (await listed()).closed).toMatchObject({ 1000: 1, 1006: 1, 4321: 1 });
  await expect.poll(async () => (await listed()).connections.map(({ transport }) => transport).sort()).toEqual(["long-poll", "sse", "websocket", "websocket", "websocket"]);
  // One reads nothing until it is far behind. The long-poll has its answer by then.
  const slow = await webSocket(slowly, "inventory-change");
  slow.pause();
  await expect.poll(async () => {
    await authority.publish(...Array.from({ length: 100 }, () => sale("again and ".repeat(90))));
    return (await listed()).connections.find(({ principal }) => principal === NAMES.slow)?.bufferedBytes ?? 0;
  }).toBeGreaterThan(100_000);
  void fetch(`${url}/v1/events?channel=inventory-change&since=now&wait=30`, { ...bearer(polling), signal: abort.signal }).catch(() => {});
  await expect.poll(async () => (await listed()).total).toBe(6);
  await everyWay("connections-filled", authority.operator, "connections", async ({ page }) => {
    const row = (name: string) => page.getByRole("row", { name: new RegExp(name) });
    await row(NAMES.slow).waitFor();
    // The largest buffer first.
    expect(await page.locator("tbody tr").first().textContent()).toMatch(/^127\.0\.0\.1:\d+analyticswebsocket.*KiB$/);
    expect(await row(NAMES.websocket).count()).toBe(3);
    expect(await row(NAMES.stream).textContent()).toContain("sse");
    expect(await row(NAMES.poll).textContent()).toContain("long-poll");
    expect(await page.locator(".sheet", { hasText: "Closed, by code" }).textContent()).toMatch(/1006 cut off1/);
    await page.getByText("4321").waitFor();
    // A long name takes no column away: the last one is in sight, unless the window is narrow.
    const last = await page.locator("tbody tr").first().locator("td").last().boundingBox();
    if (page.viewportSize()!.width > 1000) expect(last!.x + last!.width).toBeLessThanOrEqual(1440);
  });
  slow.destroy();
});

test("Nodes lists the nodes of the bus, also one that died, and what went wrong at this one", async () => {
  const [east, west] = nodes as [Daemon, Daemon];
  await east.kill();
  // Too slow a reader, and a log that is lost.
  const slow = await webSocket(await authority.token(NAMES.slow, "inventory-change", "1h"), "inventory-change");
  slow.pause();
  await expect.poll(async () => {
    await authority.publish(...Array.from({ length: 200 }, () => sale("again and ".repeat(90))));
    return (await listed()).closed;
  }).toMatchObject({ 4008: 1 });
  const flushing = dial(redis.port, "127.0.0.1", () => flushing.write("FLUSHALL\r\n"));
  await new Promise((resolve) => flushing.once("data", resolve));
  flushing.destroy();
  await expect.poll(() => west.isReady()).toBe(true);
  await expect.poll(async () => {
    await fetch(`${authority.daemon.url}/v1/events`, { method: "POST", body: JSON.stringify([sale()]), headers: { "content-type": "application/json", ...bearer(authority.operator).headers } });
    const { incidents } = (await (await fetch(`${authority.daemon.url}/v1/incidents`, bearer(authority.operator))).json()) as { incidents: { kind: string }[] };
    return incidents.map(({ kind }) => kind);
  }).toEqual(expect.arrayContaining(["close-4008", "epoch-change"]));
  const east2 = await Daemon.start([...authority.flags, "--broker", redis.url, "--node-id", EAST]);
  nodes[0] = east2;
  await east2.kill();
  await everyWay("nodes-filled", authority.operator, "nodes", async ({ page }) => {
    await page.getByRole("row", { name: /^east lost/ }).waitFor({ timeout: 30_000 });
    await page.getByRole("row", { name: /^west up/ }).waitFor();
    // Once in the list, and once for all incidents. The state stands beside it, in a narrow window too.
    expect(await page.getByText(LONG).count()).toBe(2);
    const state = await page.getByRole("row", { name: /^east lost/ }).locator("td").first().boundingBox();
    expect(state!.x + 60).toBeLessThan(page.viewportSize()!.width);
    expect(await page.locator(".timeline .kind").allTextContents()).toEqual(expect.arrayContaining(["close-4008", "epoch-change"]));
  });
}, 90_000);

test("without the rights, both views say which one is missing", async () => {
  const reader = await authority.token("reader", "order-status", "1h");
  for (const view of ["connections", "nodes"]) {
    await everyWay(`${view}-forbidden`, reader, view, async ({ page }) => {
      await page.getByText(`It needs the admin grant “${view}”.`).waitFor();
    });
  }
});

test("when the daemon goes, both views keep what they had and say so", async () => {
  const port = authority.daemon.port;
  const daemon = await Daemon.start();
  expect(port).not.toBe(daemon.port);
  for (const view of ["connections", "nodes"]) {
    const own = view === "connections" ? await Daemon.start() : daemon;
    const opened = await Console.open(chromium, own.url, `#/${view}`);
    await opened.isQuiet();
    await own.kill();
    await opened.page.getByText("What is shown is not the newest.").waitFor();
    expect(await opened.page.getByText("The daemon does not answer.").count()).toBe(1);
    await opened.isAccessible();
    await opened.page.screenshot({ path: `${FOLDER}/${view}-stale-light-1440.png` });
    await opened.close();
  }
});
