// The connection of a bus, with a fake daemon: reconnects, close codes, heartbeats, drains and errors.

import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket as WsWebSocket } from "ws";

import { type Bus, connect, type ConnectionState, type ConnectOptions, type Gap, type TidingsError } from "../src/index.js";
import { FakeDaemon } from "./fake.js";

let daemon: FakeDaemon;
let bus: Bus;
let states: ConnectionState[];

beforeEach(async () => {
  daemon = await FakeDaemon.start();
});

afterEach(async () => {
  bus.close();
  await daemon.stop();
});

/** Connects a bus without random delays, the first of 10 ms, and records its states. */
function open(options: ConnectOptions = {}, url = daemon.url): Bus {
  bus = connect(url, { backoff: { minMs: 10, maxMs: 40 }, random: () => 1, ...options });
  bus.ready().catch(() => {});
  states = [bus.state];
  bus.onState((state) => states.push(state));
  return bus;
}

const statuses = () => states.map(({ status }) => status);
const sale = { productId: "123", oldQuantity: 100, newQuantity: 95, reason: "sale" };

test.each([
  [1011, "the replay failed"],
  [1013, "the broker is away"],
])("after close code %i, the bus reconnects, subscribes again and resumes", async (code, reason) => {
  const seen: number[] = [];
  open().on("inventory-change", { where: { productId: "123" } }, ({ newQuantity }) => seen.push(newQuantity));
  const first = (await daemon.connection()).welcome();
  await first.confirmSubscribe();
  first.event("inventory-change", sale);
  await expect.poll(() => seen).toEqual([95]);
  first.socket.close(code, reason);

  const second = (await daemon.connection()).welcome();
  expect(await second.receive()).toEqual({
    type: "subscribe", sub: "s1", channel: "inventory-change", where: { productId: "123" }, since: "e:1",
  });
  second.send({ type: "subscribed", sub: "s1", channel: "inventory-change", position: "e:1", recovered: true });
  second.event("inventory-change", { ...sale, newQuantity: 94 }, "e:2");
  await expect.poll(() => seen).toEqual([95, 94]);
  expect(statuses()).toEqual(["connecting", "open", "reconnecting", "open"]);
  expect(states[2]).toMatchObject({ attempt: 1, delayMs: 10, reason: `${reason} (${code})` });
});

test("the delay doubles until a connection lasts; a welcome alone does not reset it", async () => {
  open();
  for (let attempt = 0; attempt < 4; attempt++) (await daemon.connection()).welcome().socket.terminate();
  await daemon.connection();
  const delays = states.flatMap((state) => (state.status === "reconnecting" ? [[state.attempt, state.delayMs]] : []));
  expect(delays).toEqual([[1, 10], [2, 20], [3, 40], [4, 40]]);
});

test("a connection that lasted resets the backoff", async () => {
  open({ backoff: { minMs: 1, maxMs: 1 } });
  (await daemon.connection()).socket.terminate();
  const lasting = (await daemon.connection()).welcome();
  await bus.ready();
  const at = performance.now();
  await expect.poll(() => performance.now() - at).toBeGreaterThan(1);
  lasting.socket.terminate();
  await daemon.connection();
  expect(states.at(-1)).toMatchObject({ status: "reconnecting", attempt: 1 });
});

test.each([1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 4008, 4009, 4029])("the bus reconnects after close code %i", async (code) => {
  open();
  (await daemon.connection()).welcome().socket.close(code);
  (await daemon.connection()).welcome();
  await bus.ready();
  expect(states).toContainEqual(expect.objectContaining({ status: "reconnecting", reason: `closed with ${code}` }));
});

test.each([
  [1009, "connection-refused"],
  [4001, "unauthenticated"],
  [4003, "forbidden"],
  [4004, "unauthenticated"],
  [4005, "unauthenticated"],
])("close code %i is final and reported everywhere as %s", async (code, reported) => {
  const [refused, failed] = [vi.fn(), vi.fn()];
  open().on("order-status", { onError: refused }, () => {});
  bus.onError(failed);
  const next = bus.events("order-status").next();
  const ready = bus.ready();
  (await daemon.connection()).welcome().socket.close(code);
  const error = { code: reported, status: code };
  await expect(ready).rejects.toMatchObject(error);
  await expect(next).rejects.toMatchObject(error);
  await expect(bus.ready()).rejects.toMatchObject(error);
  await expect(bus.publish("inventory-change", sale)).rejects.toMatchObject(error);
  expect(refused).toHaveBeenCalledExactlyOnceWith(expect.objectContaining(error));
  expect(failed).toHaveBeenCalledExactlyOnceWith(expect.objectContaining(error));
  expect(bus.state).toMatchObject({ status: "closed", error });
  expect(() => bus.on("order-status", () => {})).toThrow("closed");
});

test("a connection is abandoned after two silent heartbeat intervals, but not before", async () => {
  open();
  const first = (await daemon.connection()).welcome(200);
  const at = performance.now();
  while (performance.now() - at < 600) {
    const last = performance.now();
    await expect.poll(() => performance.now() - last).toBeGreaterThan(100);
    first.send({ type: "heartbeat", positions: {} });
  }
  expect(statuses()).toEqual(["connecting", "open"]);
  expect(await first.closed).toBe(4009);
  await daemon.connection();
  expect(states.at(-1)).toMatchObject({ status: "reconnecting", reason: "no heartbeat for two intervals" });
});

test("the bus leaves a draining node when asked to, and receives events until then", async () => {
  const seen = vi.fn();
  open().on("inventory-change", seen);
  const first = (await daemon.connection()).welcome();
  await first.confirmSubscribe();
  first.send({ type: "draining", reconnectInMs: 50 });
  first.event("inventory-change", sale);
  expect(await first.closed).toBe(1000);
  expect(seen).toHaveBeenCalledOnce();
  (await daemon.connection()).welcome();
  await expect.poll(statuses).toEqual(["connecting", "open", "draining", "reconnecting", "open"]);
  expect(states[2]).toEqual({ status: "draining", reconnectInMs: 50 });
  expect(states[3]).toMatchObject({ delayMs: 0, reason: "the node is draining" });
});

test("after an early close of a draining node, the bus still waits for the requested time", async () => {
  open();
  const first = (await daemon.connection()).welcome();
  first.send({ type: "draining", reconnectInMs: 500 });
  first.socket.close(1012);
  await daemon.connection();
  const state = states.at(-1)!;
  expect(state.status === "reconnecting" && state.delayMs).toSatisfy((delay: number) => delay > 40 && delay <= 500);
});

test("a socket whose close throws does not end the bus", async () => {
  const WebSocket = class extends WsWebSocket {
    override close(): void {
      throw new SyntaxError("not allowed");
    }
  };
  open({ WebSocket });
  (await daemon.connection()).welcome(10);
  (await daemon.connection()).welcome();
  await bus.ready();
  bus.close();
  expect(statuses()).toEqual(["connecting", "open", "reconnecting", "open", "closed"]);
});

test("a gap of the daemon is reported", async () => {
  const gaps: Gap[] = [];
  open().onGap((gap) => gaps.push(gap));
  const gap = { channel: "order-status", from: "e:1", position: "f:1" };
  (await daemon.connection()).welcome().send({ type: "gap", ...gap });
  await expect.poll(() => gaps).toEqual([gap]);
  expect(bus.positions.get("order-status")).toBe("f:1");
});

test("a subscription that cannot be served yet is requested again", async () => {
  const errors: TidingsError[] = [];
  open().on("order-status", () => {});
  bus.onError((error) => errors.push(error));
  const peer = (await daemon.connection()).welcome();
  await peer.receive();
  peer.send({ type: "error", code: "broker-unavailable", message: "not yet", sub: "s1" });
  await peer.confirmSubscribe();
  await bus.ready();
  expect(errors).toMatchObject([{ code: "broker-unavailable" }]);
});

test("handlers with the same request share a subscription, which ends with the last of them", async () => {
  open();
  const where = { orderId: "1" };
  const first = bus.on("order-status", { where }, () => {});
  const second = bus.on("order-status", { where: { ...where } }, () => {});
  const peer = (await daemon.connection()).welcome();
  const sub = await peer.confirmSubscribe();
  await bus.ready();
  first();
  second();
  second();
  bus.on("data-update", () => {});
  expect(await peer.receive()).toEqual({ type: "unsubscribe", sub });
  expect(await peer.receive()).toMatchObject({ type: "subscribe", channel: "data-update" });
});

test("a refused subscription is neither unsubscribed nor requested again", async () => {
  const refused = vi.fn();
  open();
  const unsubscribe = bus.on("order-status", { onError: refused }, () => {});
  const peer = (await daemon.connection()).welcome();
  await peer.receive();
  peer.send({ type: "error", code: "forbidden", message: "no", sub: "s1" });
  await bus.ready();
  expect(refused).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: "forbidden" }));
  unsubscribe();
  bus.on("order-status", () => {});
  expect(await peer.receive()).toMatchObject({ type: "subscribe", sub: "s2" });
});

test("an error goes to the console only if there is no listener", async () => {
  const log = vi.spyOn(console, "error").mockReturnValue();
  onTestFinished(() => log.mockRestore());
  open().on("order-status", { where: { orderId: "1" } }, () => {});
  bus.on("order-status", { onError: () => {} }, () => {});
  const peer = (await daemon.connection()).welcome();
  for (const sub of ["s1", "s2"]) {
    await peer.receive();
    peer.send({ type: "error", code: "forbidden", message: sub, sub });
  }
  await bus.ready();
  expect(log).toHaveBeenCalledExactlyOnceWith("tidings:", expect.objectContaining({ code: "forbidden", message: "s1" }));
});

test("unknown and malformed frames are ignored", async () => {
  const seen = vi.fn();
  open().on("inventory-change", seen);
  const peer = (await daemon.connection()).welcome();
  await peer.confirmSubscribe();
  for (const text of ["{", "7", "null", '{"type":"news"}', '{"type":"pong"}']) peer.socket.send(text);
  peer.socket.send(Buffer.from("{}"), { binary: true });
  peer.event("inventory-change", sale);
  await expect.poll(() => seen.mock.calls.length).toBe(1);
});

test("the bus waits for a daemon that has not started yet", async () => {
  const { url } = daemon;
  await daemon.stop();
  open({}, url).onError(() => {});
  await expect.poll(() => states.length).toBeGreaterThan(3);
  expect(states[1]).toMatchObject({ status: "reconnecting", attempt: 1, reason: expect.stringContaining("ECONNREFUSED") });
});

test("a WebSocket that cannot be constructed ends the bus with the reason", async () => {
  const WebSocket = class {
    constructor() {
      throw new SyntaxError("not allowed");
    }
  };
  open({ WebSocket: WebSocket as never }).onError(() => {});
  await expect(bus.ready()).rejects.toMatchObject({ code: "connection-refused", message: expect.stringContaining("not allowed") });
});

test("after a failure, the bus connects to the next node, and after the last to the first", async () => {
  const other = await FakeDaemon.start();
  onTestFinished(() => other.stop());
  open({ urls: [`${other.url}/`] });
  (await daemon.connection()).welcome().socket.close(1013);
  (await other.connection()).socket.terminate();
  const last = (await daemon.connection()).welcome();
  await bus.ready();
  last.send({ type: "draining", reconnectInMs: 10 });
  (await other.connection()).welcome();
  await bus.ready();
});

test("close reaches the daemon, and ends loops and ready", async () => {
  const loop = open().events("order-status").next();
  const peer = (await daemon.connection()).welcome();
  await peer.receive();
  const ready = bus.ready();
  bus.close();
  bus.close();
  expect(await loop).toEqual({ value: undefined, done: true });
  await expect(ready).rejects.toMatchObject({ code: "closed" });
  expect(await peer.closed).toBe(1000);
  expect(states.at(-1)).toEqual({ status: "closed" });
});

test("a signal removes the listeners of the state, of gaps and of errors, and an aborted one adds none", async () => {
  vi.spyOn(console, "error").mockReturnValue();
  onTestFinished(() => void vi.restoreAllMocks());
  open();
  const controller = new AbortController();
  const { signal } = controller;
  const [state, gap, error, late] = [vi.fn(), vi.fn(), vi.fn(), vi.fn()];
  bus.onState(state, { signal });
  bus.onGap(gap, { signal });
  bus.onError(error, { signal });
  const all: unknown[] = [];
  bus.onGap(({ position }) => all.push(position));
  const peer = (await daemon.connection()).welcome();
  peer.send({ type: "error", code: "internal", message: "a", sub: undefined as never });
  peer.send({ type: "gap", channel: "order-status", from: "e:1", position: "e:2" });
  await expect.poll(() => all).toEqual(["e:2"]);
  expect([state, gap, error].map(({ mock }) => mock.calls.length)).toEqual([1, 1, 1]);
  controller.abort();
  for (const listen of [bus.onState, bus.onGap, bus.onError]) listen.call(bus, late, { signal });
  peer.send({ type: "error", code: "internal", message: "b" });
  peer.send({ type: "gap", channel: "order-status", from: "e:3", position: "e:4" });
  await expect.poll(() => all).toEqual(["e:2", "e:4"]);
  bus.close();
  expect([state, gap, error, late].map(({ mock }) => mock.calls.length)).toEqual([1, 1, 1, 0]);
});

test("a refusal of a subscription that was removed meanwhile is nobody's error, as in React's StrictMode", async () => {
  const said = vi.spyOn(console, "error").mockReturnValue();
  onTestFinished(() => said.mockRestore());
  open();
  const peer = (await daemon.connection()).welcome();
  await bus.ready();
  bus.on("order-status", () => {})();
  const refused = vi.fn();
  bus.on("order-status", { onError: refused }, () => {});
  for (const sub of ["s1", "s1", "s2"]) {
    const frame = await peer.receive();
    expect(frame).toMatchObject({ sub });
    const isEnd = frame.type === "unsubscribe";
    peer.send({ type: "error", code: isEnd ? "unknown-subscription" : "forbidden", message: "not allowed", sub });
  }
  await expect.poll(() => refused.mock.calls).toHaveLength(1);
  expect(said).not.toHaveBeenCalled();
  // What concerns no subscription is still reported.
  peer.send({ type: "error", code: "internal", message: "the daemon failed" });
  await expect.poll(() => said.mock.calls).toEqual([["tidings:", expect.objectContaining({ code: "internal" })]]);
});
