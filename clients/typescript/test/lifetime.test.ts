// How long a connection lives: it opens late, outlives StrictMode's double mount and hot reloads, and closes when nothing needs it.

import { channel } from "node:diagnostics_channel";
import { createRequire } from "node:module";

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { WebSocket as WsWebSocket } from "ws";

import { type Bus, connect, connectOnce } from "../src/index.js";
import type * as client from "../src/index.js";
import { launch } from "./chromium.js";
import { Daemon } from "./daemon.js";
import { FakeDaemon } from "./fake.js";
import { Site } from "./site.js";

declare global {
  // The globals of the page.
  var tidings: typeof client;
  var bus: client.Bus;
  var seen: client.InventoryChange[];
}

let daemon: FakeDaemon;
let opened: number;
const started: { close(): void }[] = [];

/** Counts the sockets. */
const WebSocket = class extends WsWebSocket {
  constructor(url: string, protocol?: string) {
    super(url, protocol);
    opened++;
  }
};

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  opened = 0;
});

afterEach(async () => {
  for (const bus of started.splice(0)) bus.close();
  await daemon.stop();
});

function open(idleTimeoutMs?: number): Bus {
  const bus = connect(daemon.url, { WebSocket, idleTimeoutMs });
  started.push(bus);
  return bus;
}

/** Lets everything run that the code has begun. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 20));

test("StrictMode's mount, unmount and mount make one socket, and so does a component that makes its own bus", async () => {
  const bus = open();
  bus.on("order-status", () => {})();
  bus.on("order-status", () => {});
  (await daemon.connection()).welcome();
  await bus.ready.bind(bus, { signal: AbortSignal.timeout(1) })().catch(() => {});
  expect(opened).toBe(1);

  const first = open();
  first.on("order-status", () => {});
  first.close();
  const second = open();
  second.on("order-status", () => {});
  await daemon.connection();
  await turn();
  expect(opened).toBe(2);
});

test("a subscription soon after the last one has ended finds the connection open", async () => {
  const bus = open(60_000);
  const stop = bus.on("order-status", () => {});
  const peer = (await daemon.connection()).welcome();
  await peer.confirmSubscribe();
  for (let count = 0; count < 5; count++) {
    const later = bus.on("inventory-change", () => {});
    await peer.confirmSubscribe();
    later();
    expect(await peer.receive()).toMatchObject({ type: "unsubscribe" });
  }
  stop();
  expect(await peer.receive()).toMatchObject({ type: "unsubscribe" });
  bus.on("order-status", () => {});
  await peer.confirmSubscribe();
  expect([opened, bus.state.status]).toEqual([1, "open"]);
});

test("the connection closes some time after the last subscription, and the next one opens another", async () => {
  const bus = open(20);
  const states: string[] = [];
  bus.onState(({ status }) => states.push(status));
  const stop = bus.on("order-status", () => {});
  const first = (await daemon.connection()).welcome();
  await first.confirmSubscribe();
  stop();
  expect(await first.closed).toBe(1000);
  await expect.poll(() => bus.state).toEqual({ status: "idle" });
  bus.on("order-status", () => {});
  await (await daemon.connection()).welcome().confirmSubscribe();
  expect(states).toEqual(["connecting", "open", "idle", "connecting", "open"]);
});

test("a call that waits keeps the connection, and nothing keeps that of a bus which gives up while it connects", async () => {
  const bus = open(1);
  const synced = bus.sync();
  const peer = (await daemon.connection()).welcome();
  const frame = await peer.receive();
  await turn();
  expect(bus.state.status).toBe("open");
  peer.send({ type: "synced", id: (frame as { id: string }).id, positions: {} });
  await synced;
  await expect.poll(() => bus.state.status).toBe("idle");

  const other = open(1);
  other.on("order-status", () => {})();
  await expect.poll(() => other.state.status).toBe("idle");
  // Its attempt is not taken up again.
  await turn();
  expect(other.state.status).toBe("idle");
});

test("a bus that was told to keep no process alive leaves no listener behind when it is closed", async () => {
  const sent = channel("undici:client:sendHeaders");
  for (const bus of [open(), open()]) {
    bus.unref();
    await expect.poll(() => sent.hasSubscribers).toBe(true);
    bus.close();
    await expect.poll(() => sent.hasSubscribers).toBe(false);
    bus.unref();
    await turn();
    expect(sent.hasSubscribers).toBe(false);
  }
});

test("connectOnce returns one bus for each URL and name, from both module systems, until it is closed", async () => {
  const built = createRequire(import.meta.url)("../dist/index.cjs") as typeof client;
  const buses = Array.from({ length: 20 }, (_, index) => (index % 2 ? built.connectOnce : connectOnce)(`${daemon.url}/`, { WebSocket, token: () => `t${index}` }));
  started.push(...buses);
  for (const bus of buses) bus.on("order-status", () => {});
  (await daemon.connection()).welcome();
  await turn();
  expect([new Set(buses).size, opened]).toEqual([1, 1]);
  const other = connectOnce(daemon.url, { name: "u43" });
  started.push(other);
  expect(buses).not.toContain(other);
  buses[0]!.close();
  const next = connectOnce(daemon.url);
  started.push(next);
  expect([next === buses[0], next.state.status]).toEqual([false, "idle"]);
});

test("20 hot reloads and a double mount of a page leave one socket, and the browser warns of nothing", async () => {
  const [real, site, browser] = [await Daemon.start(), await Site.start(), await launch()];
  try {
    const page = await browser.newPage();
    const [sockets, warnings]: [string[], string[]] = [[], []];
    page.on("websocket", (socket) => sockets.push(socket.url()));
    page.on("console", (message) => warnings.push(message.text()));
    await page.goto(site.origin);
    // As text: the test's own tools would change the imports.
    await page.evaluate(`(async () => {
      globalThis.seen = [];
      for (let reload = 0; reload < 20; reload++) {
        // A module under another URL runs again, as a development server does it.
        const { connectOnce } = await import(location.origin + "/client/index.js?reload=" + reload);
        const bus = connectOnce(${JSON.stringify(real.url)});
        bus.on("inventory-change", () => {})();
        const stop = bus.on("inventory-change", (data) => globalThis.seen.push(data));
        await bus.ready();
        if (reload < 19) stop();
      }
    })()`);
    await real.publish([{ type: "inventory-change", data: { productId: "1", oldQuantity: 1, newQuantity: 2, reason: "sale" } }]);
    await page.waitForFunction(() => globalThis.seen.length > 0);
    expect([sockets.length, await real.subscribers("inventory-change"), warnings]).toEqual([1, 1, []]);
    expect(await page.evaluate(() => globalThis.seen.length)).toBe(1);
  } finally {
    await browser.close();
    site.stop();
    await real.kill();
  }
});

test("a handler that a program adds while the connection closes is served by the next one", async () => {
  const bus = open(1);
  const seen = vi.fn();
  const stop = bus.on("order-status", () => {});
  await (await daemon.connection()).welcome().confirmSubscribe();
  bus.onState(({ status }) => status === "idle" && bus.on("order-status", seen));
  stop();
  const peer = (await daemon.connection()).welcome();
  await peer.confirmSubscribe();
  peer.event("order-status", { orderId: "1", newStatus: "shipped" });
  await expect.poll(() => seen.mock.calls.length).toBe(1);
});
