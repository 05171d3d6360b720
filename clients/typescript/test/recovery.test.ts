// Recovery with the real daemon: cut connections, lost logs, killed and draining nodes. No event is lost silently.

import { afterEach, expect, test } from "vitest";

import { type Bus, connect, type ConnectOptions, type Gap, type OnOptions, type InventoryChange } from "../src/index.js";
import { Daemon } from "./daemon.js";
import { Proxy } from "./proxy.js";
import { Redis } from "./redis.js";

/** Functions that end what the test has started. Called in reverse order. */
const started: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of started.splice(0).reverse()) await end();
});

async function start(flags: readonly string[] = [], port = 0): Promise<Daemon> {
  const daemon = await Daemon.start(flags, port);
  started.push(() => daemon.kill());
  return daemon;
}

async function proxied(daemon: Daemon): Promise<Proxy> {
  const proxy = await Proxy.before(daemon.port);
  started.push(() => proxy.stop());
  return proxy;
}

function open(url: string, options: ConnectOptions = {}): Bus {
  const bus = connect(url, { backoff: { minMs: 10, maxMs: 100 }, ...options });
  started.push(() => bus.close());
  return bus;
}

const channel = "inventory-change";
const PRODUCTS = 4;
/** Events with the numbers from `first` up to and including `last`; the product is a part of the number. */
const sales = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => {
    const newQuantity = first + index;
    const data = { productId: `p${newQuantity % PRODUCTS}`, oldQuantity: 0, newQuantity, reason: "count" };
    return { type: channel, data } as const;
  });
const numbers = (first: number, last: number, step = 1) => {
  const all = [];
  for (let number = first; number <= last; number += step) all.push(number);
  return all;
};

/** Subscribes a handler, and returns the list of event numbers that it receives. */
function seen(bus: Bus, options: OnOptions<InventoryChange> = {}): number[] {
  const got: number[] = [];
  bus.on(channel, options, ({ newQuantity }) => got.push(newQuantity));
  return got;
}

function gapsOf(bus: Bus): Gap[] {
  const gaps: Gap[] = [];
  bus.onGap((gap) => gaps.push(gap));
  return gaps;
}

test("events that were published during an outage arrive afterwards, once and in order", async () => {
  const daemon = await start();
  const proxy = await proxied(daemon);
  const bus = open(proxy.url);
  const [all, one, gaps] = [seen(bus), seen(bus, { where: { productId: "p1" } }), gapsOf(bus)];
  await bus.ready();
  await daemon.publish(sales(1, 10));
  await expect.poll(() => all.length).toBe(10);
  proxy.close();
  await expect.poll(() => bus.state.status).toBe("reconnecting");
  for (let first = 11; first <= 1500; first += 149) await daemon.publish(sales(first, Math.min(first + 148, 1500)));
  proxy.mend();
  await expect.poll(() => all.length).toBe(1500);
  await daemon.publish(sales(1501, 1510));
  await expect.poll(() => all.length).toBe(1510);
  expect(all).toEqual(numbers(1, 1510));
  expect(one).toEqual(numbers(1, 1510, PRODUCTS));
  expect(gaps).toEqual([]);
});

test("a connection that is cut repeatedly under load loses and repeats nothing", async () => {
  const daemon = await start();
  const proxy = await proxied(daemon);
  const bus = open(proxy.url, { backoff: { minMs: 5, maxMs: 20 } });
  const [all, gaps] = [seen(bus), gapsOf(bus)];
  const some = Array.from({ length: PRODUCTS }, (_, product) => seen(bus, { where: { productId: `p${product}` } }));
  const loop = bus.events(channel, { where: { productId: ["p0", "p2"] }, buffer: 10_000 });
  await bus.ready();
  let cuts = 0;
  for (let first = 1; first <= 6000; first += 20) {
    await daemon.publish(sales(first, first + 19));
    if (first % 400 === 1 && bus.state.status === "open") proxy.cut(), cuts++;
  }
  await expect.poll(() => all.length).toBe(6000);
  await expect.poll(() => some.flat().length).toBe(6000);
  expect(all).toEqual(numbers(1, 6000));
  some.forEach((got, product) => expect(got).toEqual(numbers(product || PRODUCTS, 6000, PRODUCTS)));
  const looped: number[] = [];
  for await (const { data } of loop) if (looped.push(data.newQuantity) === 3000) break;
  expect(looped).toEqual(numbers(2, 6000, 2));
  expect(gaps).toEqual([]);
  expect(cuts).toBeGreaterThan(1);
});

test("events that the log no longer has are a gap, and the rest arrives", async () => {
  const daemon = await start(["--log-max-events", "50"]);
  const proxy = await proxied(daemon);
  const bus = open(proxy.url);
  const [all, one, gaps] = [seen(bus), seen(bus, { where: { productId: "p0" } }), gapsOf(bus)];
  await bus.ready();
  await daemon.publish(sales(1, 3));
  await expect.poll(() => all.length).toBe(3);
  const from = bus.positions.get(channel);
  proxy.close();
  await daemon.publish(sales(4, 200));
  proxy.mend();
  await expect.poll(() => all.at(-1)).toBe(200);
  expect(all).toEqual([1, 2, 3, ...numbers(151, 200)]);
  expect(one).toEqual(numbers(152, 200, PRODUCTS));
  expect(gaps).toEqual([{ channel, from, position: from?.replace(/\d+$/, "150") }]);
});

test("a lost log is a gap, and the events of the new one arrive", async () => {
  const first = await start();
  const bus = open(first.url);
  const [all, gaps] = [seen(bus), gapsOf(bus)];
  await bus.ready();
  await first.publish(sales(1, 20));
  await expect.poll(() => all.length).toBe(20);
  const from = bus.positions.get(channel);
  await first.kill();
  await expect.poll(() => bus.state.status).toBe("reconnecting");
  const second = await start([], first.port);
  await second.publish(sales(21, 25));
  await expect.poll(() => all).toEqual(numbers(1, 25));
  expect(gaps).toEqual([{ channel, from, position: expect.stringMatching(/:0$/) }]);
});

test("since determines the beginning, and a stored position resumes after a restart", async () => {
  const daemon = await start();
  await daemon.publish(sales(1, 100));
  const before = new Date(Date.now() - 60_000).toISOString();
  for (const since of ["start", "1h", before]) {
    const bus = open(daemon.url);
    const got = seen(bus, { since, where: { productId: "p1" } });
    await expect.poll(() => got).toEqual(numbers(1, 100, PRODUCTS));
  }
  const first = open(daemon.url);
  const now = seen(first, { since: "now" });
  await first.ready();
  await daemon.publish(sales(101, 110));
  await expect.poll(() => now).toEqual(numbers(101, 110));
  const stored = first.positions.get(channel);
  first.close();
  await daemon.publish(sales(111, 120));

  const second = open(daemon.url);
  const got: number[] = [];
  let position: string | undefined;
  for await (const event of second.events(channel, { since: stored })) {
    got.push(event.data.newQuantity);
    position = second.positionOf(event);
    if (event.data.newQuantity === 115) break;
  }
  // `positions` of the bus is ahead of the loop, so resume from the position of the last processed event.
  const third = open(daemon.url);
  const rest = seen(third, { since: position });
  await expect.poll(() => rest.at(-1)).toBe(120);
  expect([got, rest]).toEqual([numbers(111, 115), numbers(116, 120)]);
});

test("subscriptions to one channel can begin at different positions, in any order", async () => {
  const daemon = await start();
  await daemon.publish(sales(1, 100));
  const bus = open(daemon.url);
  const [live, all] = [seen(bus), seen(bus, { since: "start" })];
  await bus.ready();
  await daemon.publish(sales(101, 110));
  await expect.poll(() => all.at(-1)).toBe(110);
  const later = seen(bus, { since: "start", where: { productId: "p2" } });
  await bus.ready();
  await daemon.publish(sales(111, 120));
  await expect.poll(() => later.at(-1)).toBe(118);
  await expect.poll(() => all.at(-1)).toBe(120);
  expect([live, all, later]).toEqual([numbers(101, 120), numbers(1, 120), numbers(2, 120, PRODUCTS)]);
});

test("an invalid since rejects its subscription", async () => {
  const bus = open((await start()).url);
  await expect(bus.events(channel, { since: "yesterday" }).next()).rejects.toMatchObject({ code: "invalid-position" });
});

test("when a node is killed, its client resumes at another node", async () => {
  const redis = await Redis.start();
  started.push(() => redis.stop());
  const nodes = [await start(["--broker", redis.url]), await start(["--broker", redis.url])] as const;
  const bus = open(nodes[0].url, { urls: [nodes[1].url] });
  const [all, gaps] = [seen(bus), gapsOf(bus)];
  // So many that the events begin before the node has confirmed all of them.
  const some = Array.from({ length: 100 }, (_, number) => seen(bus, { where: { newQuantity: [number + 1, number + 2001] } }));
  await bus.ready();
  await nodes[1].publish(sales(1, 1000));
  await expect.poll(() => all.length).toBe(1000);
  await nodes[0].kill();
  const publishing = (async () => {
    for (let first = 1001; first <= 3000; first += 50) await nodes[1].publish(sales(first, first + 49));
  })();
  await bus.publish(channel, { ...sales(3001, 3001)[0]!.data, reason: "client" });
  await publishing;
  await expect.poll(() => all.length).toBe(3001);
  const published = all.filter((number) => number <= 3000);
  expect(published).toEqual(numbers(1, 3000));
  await expect.poll(() => some.every((got) => got.length === 2)).toBe(true);
  expect(some).toEqual(some.map((_, number) => [number + 1, number + 2001]));
  expect(gaps).toEqual([]);
  expect(bus.state.status).toBe("open");
});

test("clients of a draining node move to another node without loss", async () => {
  const redis = await Redis.start();
  started.push(() => redis.stop());
  const flags = ["--broker", redis.url, "--drain", "1s"];
  const nodes = [await start(flags), await start(flags)] as const;
  const bus = open(nodes[0].url, { urls: [nodes[1].url] });
  const [all, gaps] = [seen(bus), gapsOf(bus)];
  const statuses: string[] = [];
  bus.onState(({ status }) => statuses.push(status));
  await bus.ready();
  nodes[0].terminate();
  let last = 0;
  while (statuses.filter((status) => status === "open").length < 2) {
    await nodes[1].publish(sales(last + 1, last + 10));
    last += 10;
  }
  await nodes[1].publish(sales(last + 1, last + 10));
  await expect.poll(() => all.at(-1)).toBe(last + 10);
  expect(all).toEqual(numbers(1, last + 10));
  expect([statuses[0], statuses.at(-1), gaps]).toEqual(["open", "open", []]);
  expect(statuses).toContain("draining");
});
