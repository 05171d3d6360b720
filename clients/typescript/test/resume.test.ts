// Going on where a subscription was, against a daemon that does on demand what a real one seldom does.

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

/** Notes the new quantities that a handler gets. */
function seen(options: Parameters<typeof bus.on<"inventory-change">>[1] & object = {}): number[] {
  const quantities: number[] = [];
  bus.on(channel, options, ({ newQuantity }) => quantities.push(newQuantity));
  return quantities;
}

const connection = async () => (await daemon.connection()).welcome();

/** Sends what the client must have heard when it is answered for. */
async function settled(peer: Peer, position: string): Promise<void> {
  peer.send({ type: "heartbeat", positions: { [channel]: position } });
  await expect.poll(() => bus.positions.get(channel)).toBe(position);
}

test.each([
  ["subscribed", () => {}, "e:3"],
  ["an event", (peer: Peer) => peer.event(channel, sale(1), "e:4"), "e:4"],
  ["an event for others", (peer: Peer) => peer.event(channel, sale(1, "2"), "e:5"), "e:5"],
  ["a heartbeat", (peer: Peer) => peer.send({ type: "heartbeat", positions: { [channel]: "e:6", other: "e:9" } }), "e:6"],
  ["a gap", (peer: Peer) => peer.send({ type: "gap", channel, from: "e:3", position: "f:0" }), "f:0"],
])("after a reconnect it goes on from the last position, which %s says", async (_, say, since) => {
  seen({ where: { productId: "1" } });
  const first = await connection();
  expect((await first.asked()).since).toBeUndefined();
  first.send({ type: "subscribed", sub: "s1", channel, position: "e:3" });
  say(first);
  await expect.poll(() => bus.positions.get(channel)).toBe(since);
  first.socket.terminate();
  expect(await (await connection()).asked()).toMatchObject({ sub: "s1", since, where: { productId: "1" } });
});

test("what the application says is where it begins, and from then on what was delivered", async () => {
  seen({ since: "10m" });
  const first = await connection();
  expect(await first.asked()).toEqual({ type: "subscribe", sub: "s1", channel, since: "10m" });
  first.socket.close(4008);
  const second = await connection();
  expect((await second.asked()).since).toBe("10m");
  second.send({ type: "subscribed", sub: "s1", channel, position: "e:7", recovered: true });
  second.event(channel, sale(1), "e:8");
  await expect.poll(() => bus.positions.get(channel)).toBe("e:8");
  second.socket.close(1012);
  expect((await (await connection()).asked()).since).toBe("e:8");
});

test("what is heard again is not delivered again", async () => {
  const quantities = seen();
  const first = await connection();
  await first.subscribe("e:0");
  for (let offset = 1; offset <= 9; offset++) first.event(channel, sale(offset), `e:${offset}`);
  await expect.poll(() => quantities.length).toBe(9);
  first.socket.terminate();
  const second = await connection();
  await second.subscribe("e:4", true);
  for (let offset = 5; offset <= 12; offset++) second.event(channel, sale(offset), `e:${offset}`);
  await expect.poll(() => quantities).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  expect(gaps).toEqual([]);
});

test("a gap is told by the daemon alone, in its place, and once for all subscriptions", async () => {
  const told: unknown[] = [];
  bus.onGap((gap) => told.push(gap));
  bus.on(channel, { where: { productId: "1" } }, ({ newQuantity }) => told.push(newQuantity));
  bus.on(channel, { where: { newQuantity: 7 } }, ({ newQuantity }) => told.push(newQuantity));
  const first = await connection();
  for (const _ of "12") await first.subscribe("e:500");
  await bus.ready();
  first.socket.terminate();
  // The log lost its end: the epoch is the same, and what follows has lower numbers.
  const second = await connection();
  const gap = { channel, from: "e:500", position: "e:5" };
  for (const _ of "12") {
    expect(await second.subscribe("e:5", false)).toMatch(/^s[12]$/);
    second.send({ type: "gap", ...gap });
  }
  second.event(channel, sale(7), "e:6");
  await expect.poll(() => told).toEqual([gap, 7, 7]);
  second.socket.terminate();
  const third = await connection();
  for (const _ of "12") expect((await third.asked()).since).toBe("e:6");
});

test("a second subscription to a channel gets no position from the client, and each event once", async () => {
  const all = seen();
  const peer = await connection();
  await peer.subscribe("e:3");
  await bus.ready();
  const some = seen({ where: { productId: "1" } });
  expect(await peer.asked()).toEqual({ type: "subscribe", sub: "s2", channel, where: { productId: "1" } });
  peer.event(channel, sale(1), "e:4");
  peer.send({ type: "subscribed", sub: "s2", channel, position: "e:4" });
  peer.event(channel, sale(2), "e:5");
  peer.event(channel, sale(3, "2"), "e:6");
  await settled(peer, "e:6");
  expect([all, some]).toEqual([[1, 2, 3], [2]]);
  const given = seen({ since: "e:6", where: { productId: "2" } });
  expect((await peer.asked()).since).toBe("e:6");
  peer.send({ type: "subscribed", sub: "s3", channel, position: "e:6", recovered: true });
  peer.event(channel, sale(4, "2"), "e:7");
  await settled(peer, "e:7");
  expect([all, some, given]).toEqual([[1, 2, 3, 4], [2], [4]]);
});

test("where another subscription was faster, all begin again together, and nobody hears anything twice", async () => {
  const [ones, twos] = [seen({ where: { productId: "1" } }), seen({ where: { productId: "2" } })];
  const first = await connection();
  for (const _ of "12") await first.subscribe("e:3");
  await bus.ready();
  first.socket.terminate();

  const second = await connection();
  expect(await second.subscribe("e:3", true)).toBe("s1");
  second.event(channel, sale(4), "e:4");
  second.event(channel, sale(6), "e:6");
  expect((await second.asked()).since).toBe("e:3");
  second.send({ type: "error", code: "invalid-position", message: "it stands at e:6", sub: "s2" });

  const third = await connection();
  // All events of the channel first, so that no answer is too late.
  const anchor = await third.asked();
  expect(anchor).toEqual({ type: "subscribe", sub: anchor.sub, channel, since: "e:3" });
  third.send({ type: "subscribed", sub: anchor.sub, channel, position: "e:3", recovered: true });
  for (const offset of [4, 5, 6, 7]) third.event(channel, sale(offset, offset === 5 ? "2" : "1"), `e:${offset}`);
  for (const sub of ["s1", "s2"]) {
    expect(await third.asked()).toEqual({ type: "subscribe", sub, channel, where: { productId: sub[1] } });
    third.send({ type: "subscribed", sub, channel, position: "e:7" });
  }
  expect(await third.receive()).toEqual({ type: "unsubscribe", sub: anchor.sub });
  third.event(channel, sale(8, "2"), "e:8");
  await settled(third, "e:8");
  expect([ones, twos]).toEqual([[4, 6, 7], [5, 8]]);
  expect(statuses.filter((status) => status === "reconnecting")).toHaveLength(2);
});

test("those that are in different epochs find together", async () => {
  const [ones, twos] = [seen({ where: { productId: "1" } }), seen({ where: { productId: "2" } })];
  bus.onError(() => {});
  const first = await connection();
  for (const _ of "12") await first.subscribe("e:3");
  await bus.ready();
  first.socket.terminate();
  // One follows the stream into a new epoch, the other cannot yet.
  const second = await connection();
  for (const answered of [true, false]) {
    const { sub } = await second.asked();
    if (answered) second.send({ type: "subscribed", sub, channel, position: "f:0", recovered: false });
    else second.send({ type: "error", code: "broker-unavailable", message: "not now", sub });
  }
  second.event(channel, sale(1), "f:1");
  expect(await second.asked()).toMatchObject({ sub: "s2", since: "e:3" });
  expect(bus.positions.get(channel)).toBe("e:3");
  second.send({ type: "error", code: "invalid-position", message: "past", sub: "s2" });
  const third = await connection();
  const anchor = await third.asked();
  expect(anchor).toMatchObject({ since: "e:3" });
  third.send({ type: "subscribed", sub: anchor.sub, channel, position: "f:0", recovered: false });
  third.send({ type: "gap", channel, from: "e:3", position: "f:0" });
  for (const _ of "12") await third.subscribe("f:0");
  for (const offset of [1, 2, 3]) third.event(channel, sale(offset, offset === 2 ? "2" : "1"), `f:${offset}`);
  await settled(third, "f:3");
  expect([ones, twos]).toEqual([[1, 3], [2]]);
  expect(gaps).toEqual([{ channel, from: "e:3", position: "f:0" }]);
});

test("an anchor that cannot stand yet is cast again, and one that never can is done without", async () => {
  bus.onError(() => {});
  const [ones, twos] = [seen({ where: { productId: "1" } }), seen({ where: { productId: "2" } })];
  const first = await connection();
  await first.subscribe("e:3");
  first.send({ type: "error", code: "invalid-position", message: "past", sub: (await first.asked()).sub });
  // s2 never stood, and wants to begin now: it needs no anchor.
  const second = await connection();
  expect(await second.subscribe("e:3", true)).toBe("s1");
  expect(await second.subscribe("e:3")).toBe("s2");
  await bus.ready();
  second.socket.terminate();
  let peer = await connection();
  await peer.asked();
  peer.send({ type: "error", code: "invalid-position", message: "past", sub: (await peer.asked()).sub });
  for (const code of ["broker-unavailable", "too-many-subscriptions"]) {
    peer = await connection();
    const anchor = await peer.asked();
    expect(anchor.sub).toMatch(/^a/);
    peer.send({ type: "error", code, message: "no", sub: anchor.sub });
  }
  peer = await connection();
  for (const sub of ["s1", "s2"]) {
    expect(await peer.asked()).toMatchObject({ sub, since: "e:3" });
    peer.send({ type: "subscribed", sub, channel, position: "e:3", recovered: true });
  }
  peer.event(channel, sale(4), "e:4");
  peer.event(channel, sale(5, "2"), "e:5");
  await settled(peer, "e:5");
  expect([ones, twos]).toEqual([[4], [5]]);
});

test("a since that cannot be taken as the first of its channel is refused, and the others go on", async () => {
  const refused = vi.fn();
  const live = seen();
  const first = await connection();
  await first.subscribe("e:3");
  await bus.ready();
  const unreadable = seen({ since: "yesterday", onError: refused });
  await first.asked();
  // It may be older than the stream, or nonsense: the next connection will tell.
  first.send({ type: "error", code: "invalid-position", message: "no position", sub: "s2" });
  const second = await connection();
  const anchor = await second.asked();
  expect(anchor.since).toBe("yesterday");
  second.send({ type: "error", code: "invalid-position", message: "no position", sub: anchor.sub });
  const third = await connection();
  expect(await third.asked()).toEqual({ type: "subscribe", sub: "s1", channel, since: "e:3" });
  third.send({ type: "subscribed", sub: "s1", channel, position: "e:3", recovered: true });
  await bus.ready();
  expect(refused).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: "invalid-position" }));
  third.event(channel, sale(1), "e:4");
  await settled(third, "e:4");
  expect([live, unreadable]).toEqual([[1], []]);
});

test("what the daemon says of a refusal may be long", async () => {
  const refused = vi.fn();
  const live = seen();
  const first = await connection();
  await first.subscribe("e:3");
  await bus.ready();
  seen({ since: "2026-11-21 10:00", onError: refused });
  await first.asked();
  const message = "ü".repeat(100);
  first.send({ type: "error", code: "invalid-position", message, sub: "s2" });
  const second = await connection();
  second.send({ type: "error", code: "invalid-position", message, sub: (await second.asked()).sub });
  const third = await connection();
  await third.subscribe("e:3", true);
  third.event(channel, sale(1), "e:4");
  await settled(third, "e:4");
  expect(live).toEqual([1]);
  expect(refused).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: "invalid-position", message }));
});

test("while the log cannot be read, it asks again from where it was", async () => {
  const quantities = seen();
  bus.onError(() => {});
  const first = await connection();
  await first.subscribe("e:3");
  await bus.ready();
  first.socket.close(1013);
  const second = await connection();
  for (let attempt = 0; attempt < 3; attempt++) {
    expect((await second.asked()).since).toBe("e:3");
    second.send({ type: "error", code: "broker-unavailable", message: "not now", sub: "s1" });
  }
  await second.subscribe("e:3", true);
  second.event(channel, sale(4), "e:4");
  await expect.poll(() => quantities).toEqual([4]);
});

test("a position that is kept leaves nothing out, however far others of its channel are", async () => {
  const [ones, history] = [seen({ where: { productId: "1" } }), seen({ since: "start" })];
  bus.onError(() => {});
  const peer = await connection();
  await peer.subscribe("e:9");
  await expect.poll(() => bus.positions.get(channel)).toBe("e:9");
  await peer.asked();
  peer.send({ type: "error", code: "invalid-position", message: "past", sub: "s2" });
  const second = await connection();
  expect(await second.subscribe("e:0", true)).toMatch(/^a/);
  second.event(channel, sale(1), "e:1");
  await expect.poll(() => history).toEqual([1]);
  expect(bus.positions.get(channel)).toBe("e:1");
  // The other one goes on without the first, which waits.
  second.socket.terminate();
  const third = await connection();
  const again = await third.asked();
  expect(again.since).toBe("e:1");
  third.send({ type: "subscribed", sub: again.sub, channel, position: "e:1", recovered: true });
  for (const _ of "12") await third.subscribe("e:1");
  await bus.ready();
  third.socket.terminate();
  const fourth = await connection();
  expect(await fourth.subscribe("e:9", true)).toBe("s1");
  expect(await fourth.asked()).toMatchObject({ since: "e:1" });
  fourth.event(channel, sale(10), "e:10");
  await expect.poll(() => ones).toEqual([10]);
  expect(bus.positions.get(channel)).toBe("e:1");
});

test("each event has a position, which a handler and a loop can keep", async () => {
  const events = bus.events(channel);
  const handler = vi.fn();
  bus.on(channel, (_, event) => handler(bus.positionOf(event), bus.positions.get(channel)));
  const peer = await connection();
  await peer.subscribe("e:0");
  peer.event(channel, sale(1), "e:1");
  peer.event(channel, sale(2), "e:2");
  await expect.poll(() => handler.mock.calls).toEqual([["e:1", "e:1"], ["e:2", "e:2"]]);
  // The loop is behind.
  expect(bus.positions.get(channel)).toBe("e:2");
  for (const position of ["e:1", "e:2"]) expect(bus.positionOf((await events.next()).value!)).toBe(position);
  expect(bus.positionOf({})).toBeUndefined();
});

test("those that begin at the same place share a subscription until it has begun", async () => {
  const [first, second] = [seen({ since: "start" }), seen({ since: "start" })];
  const peer = await connection();
  await peer.subscribe("e:0", true);
  peer.event(channel, sale(1), "e:1");
  await expect.poll(() => [first, second]).toEqual([[1], [1]]);
  const third = seen({ since: "start" });
  expect(await peer.asked()).toMatchObject({ sub: "s2", since: "start" });
  peer.send({ type: "error", code: "invalid-position", message: "past", sub: "s2" });
  const again = await connection();
  expect((await again.subscribe("e:0", true))[0]).toBe("a");
  for (const _ of "12") await again.subscribe("e:0");
  again.event(channel, sale(1), "e:1");
  again.event(channel, sale(2), "e:2");
  await expect.poll(() => [first, second, third]).toEqual([[1, 2], [1, 2], [1, 2]]);
});
