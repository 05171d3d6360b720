// A bus that gets no WebSocket: it goes on over an event stream or long-polls, and the program notices no difference.

import { afterEach, expect, onTestFinished, test, vi } from "vitest";

import { createCache } from "../src/cache/index.js";
import { type Bus, connect, type ConnectOptions, type Gap, type TidingsError, type Transport } from "../src/index.js";
import { Daemon } from "./daemon.js";
import { Middlebox, type Upgrades } from "./middlebox.js";
import { Proxy } from "./proxy.js";

const started: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of started.splice(0).reverse()) await end();
});

const ended = <Value>(value: Value, end: (value: Value) => unknown) => (started.push(() => end(value)), value);
const daemon = async (...flags: string[]) => ended(await Daemon.start(flags), (daemon) => daemon.kill());
const middlebox = async (port: number, upgrades?: Upgrades, holdsBack?: boolean) => ended(await Middlebox.before(port, upgrades, holdsBack), (box) => box.stop());

function open(url: string, options: ConnectOptions = {}): { bus: Bus; errors: TidingsError[] } {
  const bus = ended(connect(url, { backoff: { minMs: 1, maxMs: 20 }, ...options }), (bus) => bus.close());
  const errors: TidingsError[] = [];
  bus.onError((error) => errors.push(error));
  return { bus, errors };
}

const sale = (newQuantity: number, productId = "123") => ({ productId, oldQuantity: 0, newQuantity, reason: "sale" });
const sales = (...numbers: number[]) => numbers.map((number) => ({ type: "inventory-change", data: sale(number) }));
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index);

test("where a proxy refuses WebSockets twice, the bus goes on over an event stream, and the program notices nothing", async () => {
  const { port, publish } = await bound();
  const box = await middlebox(port);
  const { bus, errors } = open(box.url);
  const seen: number[] = [];
  bus.on("inventory-change", { where: { productId: "123" } }, ({ newQuantity }) => seen.push(newQuantity));
  await bus.ready();
  expect([bus.state.status, bus.transport]).toEqual(["open", "sse"]);
  await publish([...sales(1), { type: "inventory-change", data: sale(2, "other") }, ...sales(3)]);
  await expect.poll(() => seen).toEqual([1, 3]);
  expect(box.count("UPGRADE /v1/ws")).toBe(2);
  expect(errors).toEqual([]);
});

/** A daemon, and its method to publish. */
async function bound(...flags: string[]) {
  const running = await daemon(...flags);
  return { daemon: running, port: running.port, publish: (events: readonly unknown[]) => running.publish(events) };
}

test("where a proxy never answers a WebSocket, the bus goes on over an event stream after two handshake timeouts", { timeout: 60_000 }, async () => {
  const { port, publish } = await bound();
  const { bus } = open((await middlebox(port, "hang")).url);
  const seen: number[] = [];
  bus.on("inventory-change", ({ newQuantity }) => seen.push(newQuantity));
  await bus.ready();
  expect(bus.transport).toBe("sse");
  await publish(sales(1));
  await expect.poll(() => seen).toEqual([1]);
});

test("where a proxy holds event streams back, too, the bus goes on over long-polls", async () => {
  const { port, publish } = await bound();
  const box = await middlebox(port, "refuse", true);
  const { bus } = open(box.url);
  const seen: number[] = [];
  bus.on("inventory-change", { since: "start" }, ({ newQuantity }) => seen.push(newQuantity));
  await publish(sales(1));
  await expect.poll(() => seen).toEqual([1]);
  expect(bus.transport).toBe("long-poll");
  await publish(sales(2, 3));
  await expect.poll(() => seen).toEqual([1, 2, 3]);
  expect(box.count("GET /v1/stream")).toBe(1);
});

test("a page whose proxy lets WebSockets through again returns to one, at the position of the event stream", async () => {
  const { port, publish } = await bound();
  const box = await middlebox(port);
  const { bus } = open(box.url);
  const seen: number[] = [];
  bus.on("inventory-change", ({ newQuantity }) => seen.push(newQuantity));
  await bus.ready();
  await publish(sales(1));
  await expect.poll(() => seen).toEqual([1]);
  // Still refused: the event stream goes on.
  bus.wake();
  await expect.poll(() => box.count("UPGRADE /v1/ws")).toBe(3);
  expect(bus.transport).toBe("sse");
  box.mend();
  // The look before may not be over yet: it comes to nothing, and only then does another one begin.
  await expect.poll(() => (bus.wake(), bus.transport)).toBe("websocket");
  await publish(sales(2));
  await expect.poll(() => seen).toEqual([1, 2]);
});

test("a bus may be told to use no WebSocket, or nothing else", async () => {
  const { port, publish } = await bound();
  const box = await middlebox(port);
  const { bus } = open(box.url, { transports: ["long-poll"] });
  const seen: number[] = [];
  bus.on("inventory-change", ({ newQuantity }) => seen.push(newQuantity));
  await bus.ready();
  await publish(sales(1));
  await expect.poll(() => seen).toEqual([1]);
  expect([bus.transport, box.count("UPGRADE /v1/ws"), box.count("GET /v1/stream")]).toEqual(["long-poll", 0, 0]);

  const only = open(box.url, { transports: ["websocket"] });
  only.bus.on("inventory-change", () => {});
  await expect.poll(() => box.count("UPGRADE /v1/ws")).toBeGreaterThan(5);
  expect(only.bus.transport).toBeUndefined();
  expect(only.errors).toMatchObject([{ code: "network", message: expect.stringContaining("Upgrade") }]);
  for (const transports of [[], ["carrier-pigeon"]] as never[]) expect(() => connect(box.url, { transports })).toThrow(TypeError);
});

const WITHOUT: [Transport][] = [["sse"], ["long-poll"]];

test.each(WITHOUT)("over %s, subscriptions begin, filter, are refused and end as over a WebSocket", async (transport) => {
  const { daemon: running, port, publish } = await bound();
  await publish(sales(1, 2, 3));
  const { bus, errors } = open(`http://127.0.0.1:${port}`, { transports: [transport] });
  const seen: Record<string, unknown[]> = { all: [], some: [], now: [], other: [] };
  bus.on("inventory-change", { since: "start" }, ({ newQuantity }) => seen["all"]!.push(newQuantity));
  bus.on("inventory-change", { where: { productId: "no" } }, ({ newQuantity }) => seen["some"]!.push(newQuantity));
  bus.on("order-status", ({ orderId }) => seen["other"]!.push(orderId));
  const refused = vi.fn();
  bus.on("no-such-channel" as "order-status", { onError: refused }, () => {});
  bus.on("order-status", { where: { orderid: "1" } as never, onError: refused }, () => {});
  bus.on("order-status", { since: "nonsense", onError: refused }, () => {});
  await bus.ready();
  expect(refused.mock.calls.map(([error]) => error.code).sort()).toEqual(["invalid-position", "unknown-channel", "unknown-field"]);
  expect(errors).toHaveLength(3);
  await expect.poll(() => seen["all"]).toEqual([1, 2, 3]);
  const stop = bus.on("inventory-change", ({ newQuantity }) => seen["now"]!.push(newQuantity));
  await bus.ready();
  await publish([...sales(4), { type: "order-status", data: { orderId: "1", newStatus: "shipped" } }]);
  await expect.poll(() => seen).toEqual({ all: [1, 2, 3, 4], some: [], now: [4], other: ["1"] });
  stop();
  const loop = bus.events("inventory-change", { where: { newQuantity: [5, 6] } });
  await bus.ready();
  await publish(sales(5, 7, 6));
  expect([(await loop.next()).value?.data.newQuantity, (await loop.next()).value?.data.newQuantity]).toEqual([5, 6]);
  await loop.return?.();
  await expect.poll(() => seen["all"]).toEqual([1, 2, 3, 4, 5, 7, 6]);
  expect(seen["now"]).toEqual([4]);
  bus.close();
  await expect.poll(() => running.subscribers("inventory-change")).toBe(0);
});

test.each(WITHOUT)("over %s, a later subscription may begin in the past, and the others repeat nothing", async (transport) => {
  const { port, publish } = await bound();
  const { bus } = open(`http://127.0.0.1:${port}`, { transports: [transport] });
  const [first, second]: number[][] = [[], []];
  bus.on("inventory-change", ({ newQuantity }) => first!.push(newQuantity));
  await bus.ready();
  await publish(sales(1, 2));
  await expect.poll(() => first).toEqual([1, 2]);
  bus.on("inventory-change", { since: "start" }, ({ newQuantity }) => second!.push(newQuantity));
  await expect.poll(() => second).toEqual([1, 2]);
  await publish(sales(3));
  await expect.poll(() => [first, second]).toEqual([[1, 2, 3], [1, 2, 3]]);
});

test.each(WITHOUT)("over %s, sync proves that everything published before has arrived, filtered events included", async (transport) => {
  const { port, publish } = await bound();
  const { bus } = open(`http://127.0.0.1:${port}`, { transports: [transport] });
  const seen: number[] = [];
  bus.on("inventory-change", { where: { productId: "123" } }, ({ newQuantity }) => seen.push(newQuantity));
  await bus.ready();
  for (const number of range(1, 20)) {
    await publish([...sales(number), { type: "inventory-change", data: sale(0, "other") }]);
    const positions = await bus.sync();
    expect(seen).toEqual(range(1, number));
    expect(positions.get("inventory-change")).toMatch(new RegExp(`:${2 * number}$`));
  }
  // More than an answer has.
  const many = range(21, 2_520);
  for (let at = 0; at < many.length; at += 500) await publish(sales(...many.slice(at, at + 500)));
  await bus.sync();
  expect(seen).toEqual(range(1, 2_520));
});

test.each(WITHOUT)("over %s, a connection that is cut again and again under load loses and repeats nothing", async (transport) => {
  const { port, publish } = await bound();
  const proxy = ended(await Proxy.before(port), (proxy) => proxy.stop());
  const { bus } = open(proxy.url, { transports: [transport] });
  const seen: number[] = [];
  bus.on("inventory-change", { where: { productId: "123" } }, ({ newQuantity }) => seen.push(newQuantity));
  await bus.ready();
  for (const round of range(0, 9)) {
    await publish(sales(...range(round * 50 + 1, round * 50 + 50)));
    await expect.poll(() => seen.length).toBeGreaterThan(round * 40);
    proxy.cut();
  }
  await expect.poll(() => seen.length).toBe(500);
  expect(seen).toEqual(range(1, 500));
});

test.each(WITHOUT)("over %s, a lost log is one gap, and the events of the new log arrive", async (transport) => {
  const first = await daemon();
  const { bus } = open(first.url, { transports: [transport] });
  const seen: unknown[] = [];
  bus.on("inventory-change", ({ newQuantity }) => seen.push(newQuantity));
  bus.on("inventory-change", { where: { productId: "123" } }, () => {});
  bus.onGap((gap: Gap) => seen.push(gap.channel));
  await bus.ready();
  await first.publish(sales(1, 2));
  await expect.poll(() => seen).toEqual([1, 2]);
  await first.kill();
  const second = ended(await Daemon.start([], first.port), (daemon) => daemon.kill());
  await second.publish(sales(3));
  await expect.poll(() => seen).toEqual([1, 2, "inventory-change", 3]);
  await second.publish(sales(4));
  await expect.poll(() => seen).toEqual([1, 2, "inventory-change", 3, 4]);
});

test.each(WITHOUT)("over %s, a node that stops sends its clients away, and they resume when it is back", async (transport) => {
  const { mkdtemp, rm } = await import("node:fs/promises");
  const folder = await mkdtemp("/tmp/tidings-fallback-");
  started.push(() => rm(folder, { recursive: true }));
  const flags = ["--broker", `file:${folder}`, "--drain", "1s"];
  const first = await daemon(...flags);
  const { bus } = open(first.url, { transports: [transport] });
  const seen: number[] = [];
  bus.on("inventory-change", ({ newQuantity }) => seen.push(newQuantity));
  await bus.ready();
  await first.publish(sales(1));
  await expect.poll(() => seen).toEqual([1]);
  const reasons: string[] = [];
  bus.onState((state) => state.status === "reconnecting" && reasons.push(state.reason));
  first.terminate();
  await first.ended();
  const second = ended(await Daemon.start(flags, first.port), (daemon) => daemon.kill());
  await second.publish(sales(2));
  await expect.poll(() => seen).toEqual([1, 2]);
  if (transport === "sse") expect(reasons[0]).toContain("1012");
});

test.each(WITHOUT)("over %s, a near cache with the bound 0 serves nothing older than an acknowledged invalidation", async (transport) => {
  const { port } = await bound();
  const url = `http://127.0.0.1:${port}`;
  const { bus } = open(url, { transports: [transport] });
  const cache = ended(createCache({ bus, ttl: "1m", maxEntries: 10, bound: 0 }), (cache) => cache.close());
  const writer = open(url).bus;
  await bus.sync();
  let version = 0;
  for (version = 1; version <= 20; version++) {
    await writer.publish("cache-invalidate", { tags: ["product"] });
    for (let read = 0; read < 3; read++) expect(await cache.getOrSet("a", () => version, { tags: ["product"] })).toBe(version);
  }
  expect(cache.stats().hitsL1).toBeGreaterThan(0);
});

/** A `fetch` that holds requests back whose URL is such a one, until it is told to go on with these. */
function holding() {
  let pattern: RegExp | undefined;
  let waiting: { url: string; go: () => void }[] = [];
  const held: string[] = [];
  return {
    held,
    hold: (of: RegExp) => void (pattern = of),
    release: (of = /^/) => {
      if (of.test("")) pattern = undefined;
      for (const { url, go } of waiting) if (of.test(url)) go();
      waiting = waiting.filter(({ url }) => !of.test(url));
    },
    fetch: (async (url, init) => {
      if (pattern?.test(url)) {
        held.push(url);
        await new Promise<void>((go) => waiting.push({ url, go }));
      }
      return fetch(url, init as RequestInit);
    }) satisfies ConnectOptions["fetch"],
  };
}

test.each(WITHOUT)("over %s, a subscription that joins one with a filter misses nothing while another one is asked for", async (transport) => {
  const { port, publish } = await bound();
  const { held, hold, release, fetch } = holding();
  const { bus } = open(`http://127.0.0.1:${port}`, { transports: [transport], fetch });
  const [filtered, all]: number[][] = [[], []];
  bus.on("inventory-change", { where: { productId: "123" } }, ({ newQuantity }) => filtered!.push(newQuantity));
  await bus.ready();
  await publish(sales(1));
  await expect.poll(() => filtered).toEqual([1]);
  hold(/channel=order-status.*limit=1&/);
  bus.on("inventory-change", ({ newQuantity }) => all!.push(newQuantity));
  bus.on("cache-invalidate", () => {});
  bus.on("order-status", () => {});
  // Subscriptions are confirmed in their order: the one before is, too.
  await expect.poll(() => [held.length, bus.positions.has("cache-invalidate")]).toEqual([1, true]);
  await publish([{ type: "inventory-change", data: sale(2, "other") }]);
  await publish(sales(3));
  await expect.poll(() => filtered).toEqual([1, 3]);
  release();
  await bus.sync();
  expect(all).toEqual([2, 3]);
});

test.each(WITHOUT)("over %s, a subscription that is added during a sync misses nothing that the sync reads", async (transport) => {
  const { port, publish } = await bound();
  const { held, hold, release, fetch } = holding();
  const { bus } = open(`http://127.0.0.1:${port}`, { transports: [transport], fetch });
  const [filtered, all]: number[][] = [[], []];
  bus.on("inventory-change", { where: { productId: "123" } }, ({ newQuantity }) => filtered!.push(newQuantity));
  await bus.ready();
  // What a sync reads, and what the feed asks for next.
  hold(/limit=1000&|\/v1\/stream/);
  const synced = bus.sync();
  await expect.poll(() => held.filter((url) => url.includes("limit=1000&wait=0")).length).toBe(1);
  bus.on("inventory-change", ({ newQuantity }) => all!.push(newQuantity));
  await bus.ready();
  await publish([{ type: "inventory-change", data: sale(2, "other") }]);
  await publish(sales(3));
  release();
  await synced;
  await expect.poll(() => filtered).toEqual([3]);
  await bus.sync();
  expect(all).toEqual([2, 3]);
});

test.each(WITHOUT)("over %s, a channel that is ended and begins again further back misses nothing, whatever was asked for before", async (transport) => {
  const { port, publish } = await bound();
  const { held, hold, release, fetch } = holding();
  const { bus } = open(`http://127.0.0.1:${port}`, { transports: [transport], fetch });
  const [first, second, third]: number[][] = [[], [], []];
  const stop = bus.on("inventory-change", ({ newQuantity }) => first!.push(newQuantity));
  await bus.ready();
  const start = bus.positions.get("inventory-change")!;
  await publish(sales(1, 2));
  await expect.poll(() => first).toEqual([1, 2]);

  // The feed goes on from the later position, since a further subscription waits for its answer.
  hold(/channel=order-status.*limit=1&/);
  stop();
  const stopSecond = bus.on("inventory-change", { since: start }, ({ newQuantity }) => second!.push(newQuantity));
  bus.on("cache-invalidate", () => {});
  bus.on("order-status", () => {});
  await expect.poll(() => [held.length, bus.positions.has("cache-invalidate")]).toEqual([1, true]);
  await publish(sales(3));
  release();
  await bus.sync();
  expect(second).toEqual([1, 2, 3]);

  // A sync has asked from the later position on, and is answered before the feed begins again.
  hold(/limit=1000&|\/v1\/stream/);
  held.length = 0;
  const synced = bus.sync();
  await expect.poll(() => held.some((url) => url.includes("limit=1000&wait=0"))).toBe(true);
  stopSecond();
  bus.on("inventory-change", { since: start }, ({ newQuantity }) => third!.push(newQuantity));
  await bus.ready();
  await publish(sales(4));
  const asked = held.length;
  release(/limit=1000&wait=0/);
  // It is passed on, or asked for again.
  await expect.poll(() => third!.length > 0 || held.length > asked).toBe(true);
  release();
  await synced;
  await bus.sync();
  expect(third).toEqual([1, 2, 3, 4]);
});

test("a stream of more channels than one cursor holds delivers all of them", async () => {
  const { mkdtemp, rm, writeFile } = await import("node:fs/promises");
  const folder = await mkdtemp("/tmp/tidings-schemas-");
  started.push(() => rm(folder, { recursive: true }));
  const names = range(1, 60).map((number) => `a-channel-with-a-long-name-${number}`);
  const schema = { type: "object", properties: { n: { type: "integer" } }, required: ["n"] };
  for (const name of names) await writeFile(`${folder}/${name}.schema.json`, JSON.stringify({ $id: `urn:x:${name}`, ...schema }));
  const running = await daemon("--schemas", folder);
  const bus = ended(connect<Record<string, { n: number }>>(running.url, { transports: ["sse"] }), (bus) => bus.close());
  const seen = new Set<string>();
  for (const name of names) bus.on(name, (_, { type }) => seen.add(type));
  await bus.ready();
  await running.publish(names.map((type) => ({ type, data: { n: 1 } })));
  await expect.poll(() => seen.size).toBe(names.length);
  await running.publish(names.map((type) => ({ type, data: { n: 2 } })));
  const positions = await bus.sync();
  expect([...positions.values()].every((position) => position.endsWith(":2"))).toBe(true);
});

test("a stream that is silent is proven by the log, and opened again only if the log has what it has not delivered", { timeout: 60_000 }, async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  // The daemon says nothing for an hour, and does not tell so over HTTP.
  const { port, publish } = await bound("--heartbeat", "1h");
  const box = await middlebox(port);
  const { bus, errors } = open(box.url, { transports: ["sse"] });
  const seen: number[] = [];
  bus.on("inventory-change", ({ newQuantity }) => seen.push(newQuantity));
  await bus.ready();
  const states: string[] = [];
  bus.onState(({ status }) => states.push(status));
  // The stream has begun: otherwise the clock would say that it is held back.
  await publish(sales(0));
  await expect.poll(() => seen).toEqual([0]);
  for (let minute = 1; minute <= 5; minute++) {
    const asked = box.count("GET /v1/events");
    await vi.advanceTimersByTimeAsync(41_000);
    await expect.poll(() => box.count("GET /v1/events")).toBeGreaterThan(asked);
    await bus.sync();
  }
  expect([states, box.count("GET /v1/stream")]).toEqual([[], 1]);
  await publish(sales(1));
  await expect.poll(() => seen).toEqual([0, 1]);
  // From here on, nothing of the stream arrives.
  box.holdBack();
  await publish(sales(2));
  await vi.advanceTimersByTimeAsync(41_000);
  await expect.poll(() => seen).toEqual([0, 1, 2]);
  await expect.poll(() => box.count("GET /v1/stream")).toBe(2);
  expect(errors).toEqual([]);
});
