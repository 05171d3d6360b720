// Resuming subscriptions from their positions, with a fake daemon: gaps, epochs, lagging and backfill subscriptions.

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { type Bus, connect, type ConnectionState, type Gap } from "../src/index.js";
import { FakeDaemon, type Peer } from "./fake.js";

let daemon: FakeDaemon;
let bus: Bus;
let gaps: Gap[];
let statuses: ConnectionState["status"][];

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  bus = connect(daemon.url, { backoff: { minMs: 5, maxMs: 5 } });
  [gaps, statuses] = [[], []];
  bus.onGap((gap) => gaps.push(gap));
  bus.onState(({ status }) => statuses.push(status));
});

afterEach(async () => {
  bus.close();
  await daemon.stop();
});

const channel = "inventory-change";
const sale = (newQuantity: number, productId = "1") => ({ productId, oldQuantity: 100, newQuantity, reason: "sale" });

/** Subscribes a handler, and returns the list of quantities that it receives. */
function seen(options: Parameters<typeof bus.on<"inventory-change">>[1] & object = {}): number[] {
  const quantities: number[] = [];
  bus.on(channel, options, ({ newQuantity }) => quantities.push(newQuantity));
  return quantities;
}

const connection = async () => (await daemon.connection()).welcome();

/** Sends a heartbeat with `position`, and waits until the client has handled it and every frame before it. */
async function handled(peer: Peer, position: string): Promise<void> {
  peer.send({ type: "heartbeat", positions: { [channel]: position } });
  await expect.poll(() => bus.positions.get(channel)).toBe(position);
}

test.each([
  ["subscribed", () => {}, "e:3"],
  ["an event", (peer: Peer) => peer.event(channel, sale(1), "e:4"), "e:4"],
  ["a non-matching event", (peer: Peer) => peer.event(channel, sale(1, "2"), "e:5"), "e:5"],
  ["a heartbeat", (peer: Peer) => peer.send({ type: "heartbeat", positions: { [channel]: "e:6", other: "e:9" } }), "e:6"],
  ["a gap", (peer: Peer) => peer.send({ type: "gap", channel, from: "e:3", position: "f:0" }), "f:0"],
])("after a reconnect, a subscription resumes from the position of the last frame: %s", async (_, send, since) => {
  seen({ where: { productId: "1" } });
  const first = await connection();
  expect((await first.receiveSubscribe()).since).toBeUndefined();
  first.send({ type: "subscribed", sub: "s1", channel, position: "e:3" });
  send(first);
  await expect.poll(() => bus.positions.get(channel)).toBe(since);
  first.socket.terminate();
  expect(await (await connection()).receiveSubscribe()).toMatchObject({ sub: "s1", since, where: { productId: "1" } });
});

test("a subscription begins at the since of the application, and resumes from what was delivered", async () => {
  seen({ since: "10m" });
  const first = await connection();
  expect(await first.receiveSubscribe()).toEqual({ type: "subscribe", sub: "s1", channel, since: "10m" });
  first.socket.close(4008);
  const second = await connection();
  expect((await second.receiveSubscribe()).since).toBe("10m");
  second.send({ type: "subscribed", sub: "s1", channel, position: "e:7", recovered: true });
  second.event(channel, sale(1), "e:8");
  await expect.poll(() => bus.positions.get(channel)).toBe("e:8");
  second.socket.close(1012);
  expect((await (await connection()).receiveSubscribe()).since).toBe("e:8");
});

test("a repeated event is not delivered again", async () => {
  const quantities = seen();
  const first = await connection();
  await first.confirmSubscribe("e:0");
  for (let offset = 1; offset <= 9; offset++) first.event(channel, sale(offset), `e:${offset}`);
  await expect.poll(() => quantities.length).toBe(9);
  first.socket.terminate();
  const second = await connection();
  await second.confirmSubscribe("e:4", true);
  for (let offset = 5; offset <= 12; offset++) second.event(channel, sale(offset), `e:${offset}`);
  await expect.poll(() => quantities).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  expect(gaps).toEqual([]);
});

test("a gap is reported once for all subscriptions, in order with the events", async () => {
  const notified: unknown[] = [];
  bus.onGap((gap) => notified.push(gap));
  bus.on(channel, { where: { productId: "1" } }, ({ newQuantity }) => notified.push(newQuantity));
  bus.on(channel, { where: { newQuantity: 7 } }, ({ newQuantity }) => notified.push(newQuantity));
  const first = await connection();
  for (const _ of "12") await first.confirmSubscribe("e:500");
  await bus.ready();
  first.socket.terminate();
  // The log lost its newest events: the epoch is the same, and new events have lower offsets.
  const second = await connection();
  const gap = { channel, from: "e:500", position: "e:5" };
  for (const _ of "12") {
    expect(await second.confirmSubscribe("e:5", false)).toMatch(/^s[12]$/);
    second.send({ type: "gap", ...gap });
  }
  second.event(channel, sale(7), "e:6");
  await expect.poll(() => notified).toEqual([gap, 7, 7]);
  second.socket.terminate();
  const third = await connection();
  for (const _ of "12") expect((await third.receiveSubscribe()).since).toBe("e:6");
});

test("a second subscription to a channel begins with new events, and each event arrives once", async () => {
  const all = seen();
  const peer = await connection();
  await peer.confirmSubscribe("e:3");
  await bus.ready();
  const some = seen({ where: { productId: "1" } });
  expect(await peer.receiveSubscribe()).toEqual({ type: "subscribe", sub: "s2", channel, where: { productId: "1" } });
  peer.event(channel, sale(1), "e:4");
  peer.send({ type: "subscribed", sub: "s2", channel, position: "e:4" });
  peer.event(channel, sale(2), "e:5");
  peer.event(channel, sale(3, "2"), "e:6");
  await handled(peer, "e:6");
  expect([all, some]).toEqual([[1, 2, 3], [2]]);
  const given = seen({ since: "e:6", where: { productId: "2" } });
  expect((await peer.receiveSubscribe()).since).toBe("e:6");
  peer.send({ type: "subscribed", sub: "s3", channel, position: "e:6", recovered: true });
  peer.event(channel, sale(4, "2"), "e:7");
  await handled(peer, "e:7");
  expect([all, some, given]).toEqual([[1, 2, 3, 4], [2], [4]]);
});

test("a lagging subscription is backfilled, and no event is delivered twice", async () => {
  const [ones, twos] = [seen({ where: { productId: "1" } }), seen({ where: { productId: "2" } })];
  const first = await connection();
  for (const _ of "12") await first.confirmSubscribe("e:3");
  await bus.ready();
  first.socket.terminate();

  const second = await connection();
  expect(await second.confirmSubscribe("e:3", true)).toBe("s1");
  second.event(channel, sale(4), "e:4");
  second.event(channel, sale(6), "e:6");
  expect((await second.receiveSubscribe()).since).toBe("e:3");
  second.send({ type: "error", code: "invalid-position", message: "it stands at e:6", sub: "s2" });

  const third = await connection();
  // The backfill subscription comes first, so that no other subscription can lag.
  const backfill = await third.receiveSubscribe();
  expect(backfill).toEqual({ type: "subscribe", sub: backfill.sub, channel, since: "e:3" });
  third.send({ type: "subscribed", sub: backfill.sub, channel, position: "e:3", recovered: true });
  for (const offset of [4, 5, 6, 7]) third.event(channel, sale(offset, offset === 5 ? "2" : "1"), `e:${offset}`);
  for (const sub of ["s1", "s2"]) {
    expect(await third.receiveSubscribe()).toEqual({ type: "subscribe", sub, channel, where: { productId: sub[1] } });
    third.send({ type: "subscribed", sub, channel, position: "e:7" });
  }
  expect(await third.receive()).toEqual({ type: "unsubscribe", sub: backfill.sub });
  third.event(channel, sale(8, "2"), "e:8");
  await handled(third, "e:8");
  expect([ones, twos]).toEqual([[4, 6, 7], [5, 8]]);
  expect(statuses.filter((status) => status === "reconnecting")).toHaveLength(2);
});

test("a subscription in the past of a live channel makes the bus reconnect without delay, but not again and again", async () => {
  bus.close();
  // An hour: any delay would let the test time out.
  bus = connect(daemon.url, { backoff: { minMs: 3_600_000, maxMs: 3_600_000 }, random: () => 1 });
  const delays: number[] = [];
  bus.onState((state) => state.status === "reconnecting" && delays.push(state.delayMs));
  seen();
  const first = await connection();
  await first.confirmSubscribe("e:9");
  const history = seen({ since: "e:7" });
  expect((await first.receiveSubscribe()).since).toBe("e:7");
  first.send({ type: "error", code: "invalid-position", message: "it stands at e:9", sub: "s2" });
  const second = await connection();
  await second.confirmSubscribe("e:7", true);
  second.event(channel, sale(8), "e:8");
  await expect.poll(() => history).toEqual([8]);
  expect(delays).toEqual([0]);
  for (const _ of "12") await second.confirmSubscribe("e:9");
  await bus.ready();
  seen({ since: "e:1" });
  expect(await second.receive()).toMatchObject({ type: "unsubscribe" });
  await second.receiveSubscribe();
  second.send({ type: "error", code: "invalid-position", message: "it stands at e:9", sub: "s4" });
  await expect.poll(() => delays).toEqual([0, 3_600_000]);
});

test("subscriptions in different epochs converge", async () => {
  const [ones, twos] = [seen({ where: { productId: "1" } }), seen({ where: { productId: "2" } })];
  bus.onError(() => {});
  const first = await connection();
  for (const _ of "12") await first.confirmSubscribe("e:3");
  await bus.ready();
  first.socket.terminate();
  // One subscription follows the stream into a new epoch, the other one is delayed.
  const second = await connection();
  for (const confirmed of [true, false]) {
    const { sub } = await second.receiveSubscribe();
    if (confirmed) second.send({ type: "subscribed", sub, channel, position: "f:0", recovered: false });
    else second.send({ type: "error", code: "broker-unavailable", message: "unavailable", sub });
  }
  second.event(channel, sale(1), "f:1");
  expect(await second.receiveSubscribe()).toMatchObject({ sub: "s2", since: "e:3" });
  expect(bus.positions.get(channel)).toBe("e:3");
  second.send({ type: "error", code: "invalid-position", message: "past", sub: "s2" });
  const third = await connection();
  const backfill = await third.receiveSubscribe();
  expect(backfill).toMatchObject({ since: "e:3" });
  third.send({ type: "subscribed", sub: backfill.sub, channel, position: "f:0", recovered: false });
  third.send({ type: "gap", channel, from: "e:3", position: "f:0" });
  for (const _ of "12") await third.confirmSubscribe("f:0");
  for (const offset of [1, 2, 3]) third.event(channel, sale(offset, offset === 2 ? "2" : "1"), `f:${offset}`);
  await handled(third, "f:3");
  expect([ones, twos]).toEqual([[1, 3], [2]]);
  expect(gaps).toEqual([{ channel, from: "e:3", position: "f:0" }]);
});

test("a gap is not forgotten when the connection ends before its frame", async () => {
  seen();
  const first = await connection();
  await first.confirmSubscribe("e:3");
  await bus.ready();
  first.socket.terminate();
  const second = await connection();
  expect((await second.receiveSubscribe()).since).toBe("e:3");
  second.send({ type: "subscribed", sub: "s1", channel, position: "f:5", recovered: false });
  await bus.ready();
  second.socket.terminate();
  const third = await connection();
  expect((await third.receiveSubscribe()).since).toBe("e:3");
  third.send({ type: "subscribed", sub: "s1", channel, position: "f:5", recovered: false });
  third.send({ type: "gap", channel, from: "e:3", position: "f:5" });
  await expect.poll(() => gaps).toEqual([{ channel, from: "e:3", position: "f:5" }]);
  third.socket.terminate();
  expect((await (await connection()).receiveSubscribe()).since).toBe("f:5");
});

test("a delayed backfill is requested again, and a refused one is given up", async () => {
  bus.onError(() => {});
  const [ones, twos] = [seen({ where: { productId: "1" } }), seen({ where: { productId: "2" } })];
  const first = await connection();
  await first.confirmSubscribe("e:3");
  first.send({ type: "error", code: "invalid-position", message: "past", sub: (await first.receiveSubscribe()).sub });
  // s2 was never live, and begins with new events: it needs no backfill.
  const second = await connection();
  expect(await second.confirmSubscribe("e:3", true)).toBe("s1");
  expect(await second.confirmSubscribe("e:3")).toBe("s2");
  await bus.ready();
  second.socket.terminate();
  let peer = await connection();
  await peer.receiveSubscribe();
  peer.send({ type: "error", code: "invalid-position", message: "past", sub: (await peer.receiveSubscribe()).sub });
  for (const code of ["broker-unavailable", "too-many-subscriptions"]) {
    peer = await connection();
    const backfill = await peer.receiveSubscribe();
    expect(backfill.sub).toMatch(/^a/);
    peer.send({ type: "error", code, message: "no", sub: backfill.sub });
  }
  peer = await connection();
  for (const sub of ["s1", "s2"]) {
    expect(await peer.receiveSubscribe()).toMatchObject({ sub, since: "e:3" });
    peer.send({ type: "subscribed", sub, channel, position: "e:3", recovered: true });
  }
  peer.event(channel, sale(4), "e:4");
  peer.event(channel, sale(5, "2"), "e:5");
  await handled(peer, "e:5");
  expect([ones, twos]).toEqual([[4], [5]]);
});

test("an invalid since ends its subscription, and the others continue", async () => {
  const refused = vi.fn();
  const live = seen();
  const first = await connection();
  await first.confirmSubscribe("e:3");
  await bus.ready();
  const unreadable = seen({ since: "yesterday", onError: refused });
  await first.receiveSubscribe();
  // The position may be before the stream, or invalid: the next connection shows which.
  first.send({ type: "error", code: "invalid-position", message: "no position", sub: "s2" });
  const second = await connection();
  const backfill = await second.receiveSubscribe();
  expect(backfill.since).toBe("yesterday");
  second.send({ type: "error", code: "invalid-position", message: "no position", sub: backfill.sub });
  const third = await connection();
  expect(await third.receiveSubscribe()).toEqual({ type: "subscribe", sub: "s1", channel, since: "e:3" });
  third.send({ type: "subscribed", sub: "s1", channel, position: "e:3", recovered: true });
  await bus.ready();
  expect(refused).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: "invalid-position" }));
  third.event(channel, sale(1), "e:4");
  await handled(third, "e:4");
  expect([live, unreadable]).toEqual([[1], []]);
});

test("a refusal may have a long message", async () => {
  const refused = vi.fn();
  const live = seen();
  const first = await connection();
  await first.confirmSubscribe("e:3");
  await bus.ready();
  seen({ since: "2026-11-21 10:00", onError: refused });
  await first.receiveSubscribe();
  const message = "ü".repeat(100);
  first.send({ type: "error", code: "invalid-position", message, sub: "s2" });
  const second = await connection();
  second.send({ type: "error", code: "invalid-position", message, sub: (await second.receiveSubscribe()).sub });
  const third = await connection();
  await third.confirmSubscribe("e:3", true);
  third.event(channel, sale(1), "e:4");
  await handled(third, "e:4");
  expect(live).toEqual([1]);
  expect(refused).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: "invalid-position", message }));
});

test("while the log cannot be read, a subscription retries from its position", async () => {
  const quantities = seen();
  const failed = vi.fn();
  bus.onError(failed);
  const first = await connection();
  await first.confirmSubscribe("e:3");
  await bus.ready();
  first.socket.close(1013);
  const second = await connection();
  for (let attempt = 0; attempt < 3; attempt++) {
    expect((await second.receiveSubscribe()).since).toBe("e:3");
    second.send({ type: "error", code: "broker-unavailable", message: "unavailable", sub: "s1" });
  }
  await second.confirmSubscribe("e:3", true);
  second.event(channel, sale(4), "e:4");
  await expect.poll(() => quantities).toEqual([4]);
  // Once, and not for every attempt.
  expect(failed).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: "broker-unavailable" }));
});

test("bus.positions is the earliest position of all subscriptions to a channel", async () => {
  const [ones, history] = [seen({ where: { productId: "1" } }), seen({ since: "start" })];
  bus.onError(() => {});
  const peer = await connection();
  await peer.confirmSubscribe("e:9");
  await expect.poll(() => bus.positions.get(channel)).toBe("e:9");
  await peer.receiveSubscribe();
  peer.send({ type: "error", code: "invalid-position", message: "past", sub: "s2" });
  const second = await connection();
  expect(await second.confirmSubscribe("e:0", true)).toMatch(/^a/);
  second.event(channel, sale(1), "e:1");
  await expect.poll(() => history).toEqual([1]);
  expect(bus.positions.get(channel)).toBe("e:1");
  // After the backfill, cut the connection again. The subscription with the earlier position must still determine `bus.positions`.
  second.socket.terminate();
  const third = await connection();
  const again = await third.receiveSubscribe();
  expect(again.since).toBe("e:1");
  third.send({ type: "subscribed", sub: again.sub, channel, position: "e:1", recovered: true });
  for (const _ of "12") await third.confirmSubscribe("e:1");
  await bus.ready();
  third.socket.terminate();
  const fourth = await connection();
  expect(await fourth.confirmSubscribe("e:9", true)).toBe("s1");
  expect(await fourth.receiveSubscribe()).toMatchObject({ since: "e:1" });
  fourth.event(channel, sale(10), "e:10");
  await expect.poll(() => ones).toEqual([10]);
  expect(bus.positions.get(channel)).toBe("e:1");
});

test("each event has a position, which a handler and a loop can store", async () => {
  const events = bus.events(channel);
  const handler = vi.fn();
  bus.on(channel, (_, event) => handler(bus.positionOf(event), bus.positions.get(channel)));
  const peer = await connection();
  await peer.confirmSubscribe("e:0");
  peer.event(channel, sale(1), "e:1");
  peer.event(channel, sale(2), "e:2");
  await expect.poll(() => handler.mock.calls).toEqual([["e:1", "e:1"], ["e:2", "e:2"]]);
  // The loop has not taken its events yet.
  expect(bus.positions.get(channel)).toBe("e:2");
  for (const position of ["e:1", "e:2"]) expect(bus.positionOf((await events.next()).value!)).toBe(position);
  expect(bus.positionOf({})).toBeUndefined();
});

test("handlers with the same since share a subscription until it has begun", async () => {
  const [first, second] = [seen({ since: "start" }), seen({ since: "start" })];
  const peer = await connection();
  await peer.confirmSubscribe("e:0", true);
  peer.event(channel, sale(1), "e:1");
  await expect.poll(() => [first, second]).toEqual([[1], [1]]);
  const third = seen({ since: "start" });
  expect(await peer.receiveSubscribe()).toMatchObject({ sub: "s2", since: "start" });
  peer.send({ type: "error", code: "invalid-position", message: "past", sub: "s2" });
  const again = await connection();
  expect((await again.confirmSubscribe("e:0", true))[0]).toBe("a");
  for (const _ of "12") await again.confirmSubscribe("e:0");
  again.event(channel, sale(1), "e:1");
  again.event(channel, sale(2), "e:2");
  await expect.poll(() => [first, second, third]).toEqual([[1, 2], [1, 2], [1, 2]]);
});
