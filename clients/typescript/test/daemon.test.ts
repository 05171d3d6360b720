// The client with the real daemon: filters, loops, publishing, errors and restarts.

import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { WebSocket } from "ws";

import { matches } from "../src/filter.js";
import type { ServerFrame } from "../src/generated/protocol.js";
import { type Bus, connect, type ConnectionState, type Gap, type InventoryChange } from "../src/index.js";
import { Daemon } from "./daemon.js";

let daemon: Daemon;
const buses: Bus[] = [];

beforeAll(async () => {
  daemon = await Daemon.start();
});

afterAll(() => daemon.kill());

afterEach(() => buses.splice(0).forEach((bus) => bus.close()));

function open(url = daemon.url): Bus {
  const bus = connect(url, { backoff: { minMs: 10, maxMs: 100 } });
  buses.push(bus);
  return bus;
}

let products = 0;
/** A sale of a product that no other test uses. */
function sale(): InventoryChange {
  return { productId: `product-${++products}`, oldQuantity: 100, newQuantity: 95, reason: "sale" };
}

test("an event reaches the handlers whose filter matches, and no others", async () => {
  const bus = open();
  const [data, other] = [sale(), sale()];
  const exact = vi.fn();
  const [any, prefix, not] = [vi.fn(), vi.fn(), vi.fn()];
  bus.on("inventory-change", { where: { productId: data.productId } }, exact);
  bus.on("inventory-change", { where: { productId: [data.productId, "x"], newQuantity: 95 } }, any);
  bus.on("inventory-change", { where: { productId: { prefix: data.productId } } }, prefix);
  bus.on("inventory-change", { where: { productId: data.productId, reason: "count" } }, not);
  bus.on("order-status", not);
  await bus.ready();
  await bus.publish("inventory-change", other);
  const { id } = await bus.publish("inventory-change", data);
  const last = sale();
  await bus.publish("inventory-change", { ...last, productId: data.productId });

  await expect.poll(() => exact.mock.calls.length).toBe(2);
  const event = { id, specversion: "1.0", type: "inventory-change", subject: data.productId, data };
  for (const handler of [exact, any, prefix]) {
    expect(handler).toHaveBeenCalledTimes(2);
    expect(handler).toHaveBeenNthCalledWith(1, data, expect.objectContaining(event));
  }
  expect(not).not.toHaveBeenCalled();
});

test("the client evaluates filters as the daemon does", async () => {
  const data = [
    { tags: ["a", "b"], keys: ["user:1"] },
    { tags: ["b"], reason: "" },
    { prefixes: ["user:", "shop:"], reason: "deploy" },
    { keys: ["user:2", "shop:1"], reason: "dep" },
  ];
  const filters = [
    {},
    { tags: "b" },
    { tags: ["a", "c"] },
    { keys: { prefix: "user:" } },
    { keys: { prefix: "" } },
    { reason: "" },
    { reason: { prefix: "dep" } },
    { reason: ["dep", "deploy"], prefixes: "shop:" },
    { tags: "b", keys: ["user:1", "user:2"] },
  ];
  const publisher = open();
  for (const where of filters) {
    const socket = new WebSocket(`${daemon.url.replace("http", "ws")}/v1/ws`);
    const seen: unknown[] = [];
    const subscribed = new Promise<void>((resolve, reject) => {
      socket.on("message", (text) => {
        const frame = JSON.parse(String(text)) as ServerFrame;
        if (frame.type === "subscribed" && frame.sub === "end") resolve();
        if (frame.type === "event") seen.push(frame.event.data);
        if (frame.type === "error") reject(new Error(frame.message));
      });
      socket.on("open", () => {
        socket.send(JSON.stringify({ type: "subscribe", sub: "s", channel: "cache-invalidate", where }));
        socket.send(JSON.stringify({ type: "subscribe", sub: "end", channel: "cache-invalidate", where: { tags: "end" } }));
      });
    });
    await subscribed;
    await publisher.publishAll(
      [...data, { tags: ["end"] }].map((data) => ({ type: "cache-invalidate", data }) as never),
    );
    await expect.poll(() => seen.at(-1)).toEqual({ tags: ["end"] });
    socket.close();
    expect(seen.slice(0, -1), JSON.stringify(where)).toEqual(
      Object.keys(where).length === 0 ? data : data.filter((data) => matches(where, data)),
    );
  }
});

test("a loop receives events in order, and ends its subscription", async () => {
  const bus = open();
  const events = bus.events("finance-change", { where: { entity: "refund" } });
  await bus.ready();
  expect(await daemon.subscribers("finance-change")).toBe(1);
  const refund = (amountMinor: number) =>
    ({ type: "finance-change", data: { entity: "refund", id: "r", amountMinor, currency: "EUR" } }) as const;
  await bus.publishAll(Array.from({ length: 100 }, (_, amount) => refund(amount)));
  const amounts: number[] = [];
  for await (const { data } of events) {
    amounts.push(data.amountMinor);
    if (amounts.length === 100) break;
  }
  expect(amounts).toEqual(Array.from({ length: 100 }, (_, amount) => amount));
  await expect.poll(() => daemon.subscribers("finance-change")).toBe(0);
});

test("a signal ends a loop and a handler", async () => {
  const bus = open();
  const [controller, handler] = [new AbortController(), vi.fn()];
  const { signal } = controller;
  const next = bus.events("data-update", { signal }).next();
  bus.on("data-update", { signal }, handler);
  await bus.ready();
  controller.abort(new Error("enough"));
  await expect(next).rejects.toThrow("enough");
  await expect(bus.events("data-update", { signal }).next()).rejects.toThrow("enough");
  await expect.poll(() => daemon.subscribers("data-update")).toBe(0);
});

test("publishing returns the position, and for a repeated id that of the first event", async () => {
  const bus = open();
  const handler = vi.fn();
  const data = sale();
  bus.on("inventory-change", { where: { productId: data.productId } }, handler);
  await bus.ready();
  const first = await bus.publish("inventory-change", data, { id: `id-${data.productId}` });
  expect(first).toEqual({
    id: `id-${data.productId}`, type: "inventory-change", position: expect.any(String), duplicate: false, cascaded: [],
  });
  const second = await bus.publish("inventory-change", { ...data, newQuantity: 0 }, { id: first.id });
  expect(second).toEqual({ ...first, duplicate: true });
  await bus.publish("inventory-change", { ...data, newQuantity: 1 });
  await expect.poll(() => handler.mock.calls.map(([data]) => (data as InventoryChange).newQuantity)).toEqual([95, 1]);
  expect(bus.positions.get("inventory-change")).not.toBe(first.position);
});

test("a refused event reports its mistakes", async () => {
  const bus = open();
  await expect(bus.publish("inventory-change", { productID: "1" } as never)).rejects.toMatchObject({
    code: "invalid-event",
    status: 422,
    errors: expect.arrayContaining([{ pointer: "/data/productId", message: expect.any(String) }]),
    requestId: expect.any(String),
  });
  await expect(bus.publish("no-such-type" as never, {} as never)).rejects.toMatchObject({ code: "unknown-type" });
  const data = sale();
  const batch = [{ type: "inventory-change", data }, { type: "inventory-change", data: { ...data, newQuantity: 0.5 } }];
  await expect(bus.publishAll(batch as never)).rejects.toMatchObject({ errors: [{ pointer: "/1/data/newQuantity" }] });
});

test("a refused subscription is reported to its subscriber, and the others continue", async () => {
  const bus = open();
  const data = sale();
  const [refused, failed, handler] = [vi.fn(), vi.fn(), vi.fn()];
  bus.onError(({ code }) => failed(code));
  bus.on("inventory-change", { where: { productID: "1" } as never, onError: refused }, handler);
  bus.on("inventory-change", { where: { productId: data.productId } }, handler);
  const unknown = bus.events("no-such-channel" as never).next();
  await expect(unknown).rejects.toMatchObject({ code: "unknown-channel" });
  await bus.ready();
  expect(refused).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: "unknown-field" }));
  expect(failed.mock.calls).toEqual([["unknown-field"], ["unknown-channel"]]);
  await bus.publish("inventory-change", data);
  await expect.poll(() => handler.mock.calls.length).toBe(1);
});

test("a filter with an undefined condition is refused", () => {
  const where = { productId: undefined as never };
  expect(() => open().on("inventory-change", { where }, () => {})).toThrow(expect.objectContaining({ code: "invalid-filter" }));
});

test("a failing handler is reported, and other handlers still receive the event", async () => {
  const bus = open();
  const data = sale();
  const options = { where: { productId: data.productId } };
  const [handler, failed] = [vi.fn(), vi.fn()];
  bus.onError(failed);
  bus.on("inventory-change", options, () => {
    throw new Error("thrown");
  });
  bus.on("inventory-change", options, () => Promise.reject(new Error("rejected")));
  bus.on("inventory-change", options, handler);
  await bus.ready();
  await bus.publish("inventory-change", data);
  await expect.poll(() => handler.mock.calls.length).toBe(1);
  await expect.poll(() => failed.mock.calls.map(([error]) => [error.code, error.cause.message])).toEqual([
    ["handler-failed", "thrown"],
    ["handler-failed", "rejected"],
  ]);
});

test("heartbeats advance the position, even past events that do not match", async () => {
  const own = await Daemon.start(["--heartbeat", "100ms"]);
  try {
    const bus = open(own.url);
    bus.on("inventory-change", { where: { productId: "none" } }, () => {});
    await bus.ready();
    const { position } = await bus.publish("inventory-change", sale());
    await expect.poll(() => bus.positions.get("inventory-change")).toBe(position);
    expect(bus.state.status).toBe("open");
  } finally {
    await own.kill();
  }
});

test("after the daemon was killed, the bus reconnects and reports a gap", async () => {
  let own = await Daemon.start();
  const { port } = own;
  try {
    const bus = open(own.url);
    const [states, gaps, handler] = [[] as ConnectionState["status"][], [] as Gap[], vi.fn()];
    bus.onState(({ status }) => states.push(status));
    bus.onGap((gap) => gaps.push(gap));
    bus.on("inventory-change", { where: { reason: "sale" } }, handler);
    await bus.ready();
    const { position: from } = await bus.publish("inventory-change", sale());
    await expect.poll(() => handler.mock.calls.length).toBe(1);
    await own.kill();
    await expect.poll(() => bus.state.status).toBe("reconnecting");
    const publishing = bus.publish("inventory-change", { ...sale(), reason: "count" }, { retryTimeoutMs: 60_000 });
    own = await Daemon.start([], port);
    await bus.ready();
    expect(await publishing).toMatchObject({ duplicate: false });
    await bus.publish("inventory-change", sale());
    await expect.poll(() => handler.mock.calls.length).toBe(2);
    expect(gaps).toMatchObject([{ channel: "inventory-change", from }]);
    expect([...states.slice(0, 3), states.at(-1)]).toEqual(["connecting", "open", "reconnecting", "open"]);
  } finally {
    await own.kill();
  }
});

test("an age that the log no longer reaches is a gap", async () => {
  const own = await Daemon.start(["--log-max-events", "5"]);
  try {
    const data = Array.from({ length: 10 }, sale);
    await own.publish(data.map((data) => ({ type: "inventory-change", data })));
    const bus = open(own.url);
    const [gaps, handler] = [[] as Gap[], vi.fn()];
    bus.onGap((gap) => gaps.push(gap));
    bus.on("inventory-change", { since: "10m" }, handler);
    await expect.poll(() => handler.mock.calls.length).toBe(5);
    expect(handler.mock.calls.map(([sale]) => sale)).toEqual(data.slice(5));
    const [{ from, position, channel }] = gaps as [Gap];
    expect([gaps.length, channel, from.split(":")[1], position.split(":")[1]]).toEqual([1, "inventory-change", "0", "5"]);
  } finally {
    await own.kill();
  }
});

test("a daemon that receives SIGTERM drains its clients", async () => {
  const own = await Daemon.start();
  try {
    const bus = open(own.url);
    const states: ConnectionState["status"][] = [];
    bus.onState(({ status }) => states.push(status));
    await bus.ready();
    own.terminate();
    await expect.poll(() => states).toEqual(expect.arrayContaining(["open", "draining", "reconnecting"]));
  } finally {
    await own.kill();
  }
});
