// `onInvalidate` with the real daemon, and with a fake one for what happens between two frames.

import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";

import { type Bus, connect, type Invalidated, onInvalidate, type TidingsError } from "../src/index.js";
import { Daemon } from "./daemon.js";
import { FakeDaemon } from "./fake.js";
import { Proxy } from "./proxy.js";

const started: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of started.splice(0).reverse()) await end();
});

async function startDaemon(port = 0): Promise<Daemon> {
  const daemon = await Daemon.start([], port);
  started.push(() => daemon.kill());
  return daemon;
}

function busOf(url: string): Bus {
  const bus = connect(url, { backoff: { minMs: 10, maxMs: 50 } });
  started.push(() => bus.close());
  return bus;
}

function invalidation(data: object, attributes: object = {}): object {
  return { type: "cache-invalidate", data, ...attributes };
}

const NOTHING = { all: false, tags: [], keys: [], prefixes: [], staleForMs: 0 };

test("an event is reported with its tags, keys, prefixes and staleForMs", async () => {
  const daemon = await startDaemon();
  const bus = busOf(daemon.url);
  const seen: Invalidated[] = [];
  onInvalidate(bus, (what) => seen.push(what));
  await bus.ready();
  await daemon.publish([invalidation({ tags: ["a", "b"], keys: ["k"], prefixes: ["p:"], staleForMs: 5_000 })]);
  await expect.poll(() => seen).toMatchObject([{ all: false, tags: ["a", "b"], keys: ["k"], prefixes: ["p:"], staleForMs: 5_000 }]);
});

test("invalidations of one turn are one report, with the smallest staleForMs, and a gap among them is everything", async () => {
  // A bus that delivers when the test says so: which events share a turn is otherwise up to the network.
  let deliver = (_data: object, _event: object) => {};
  let lose = (_gap: object) => {};
  const bus = {
    on: (_name: string, _options: object, handler: typeof deliver) => ((deliver = handler), () => {}),
    onGap: (listener: typeof lose) => ((lose = listener), () => {}),
    ready: () => Promise.resolve(),
  };
  const seen: Invalidated[] = [];
  onInvalidate(bus, (what) => seen.push(what));
  deliver({ tags: ["a"], keys: ["k"], staleForMs: 7_000 }, { id: "1" });
  deliver({ tags: ["a", "b"], prefixes: ["p:"], staleForMs: 5_000 }, { id: "2" });
  await expect.poll(() => seen).toMatchObject([{ all: false, tags: ["a", "b"], keys: ["k"], prefixes: ["p:"], staleForMs: 5_000 }]);
  deliver({ tags: ["a"], staleForMs: 7_000 }, { id: "3" });
  deliver({ tags: ["b"] }, { id: "4" });
  await expect.poll(() => seen.slice(1)).toMatchObject([{ ...NOTHING, tags: ["a", "b"] }]);
  deliver({ tags: ["a"] }, { id: "5" });
  lose({ channel: "order-status" });
  lose({ channel: "cache-invalidate" });
  await expect.poll(() => seen.slice(2)).toMatchObject([{ ...NOTHING, all: true }]);
});

test("listeners share a subscription, and the last one ends it", async () => {
  const daemon = await startDaemon();
  const bus = busOf(daemon.url);
  const seen: string[] = [];
  const stops = ["a", "b"].map((name) => onInvalidate(bus, () => void seen.push(name)));
  await bus.ready();
  expect(await daemon.subscribers("cache-invalidate")).toBe(1);
  stops[0]!();
  stops[0]!();
  await daemon.publish([invalidation({ tags: ["x"] })]);
  await expect.poll(() => seen).toEqual(["b"]);
  stops[1]!();
  await expect.poll(() => daemon.subscribers("cache-invalidate")).toBe(0);
  // Another one begins on the same connection.
  const statuses: string[] = [];
  bus.onState(({ status }) => statuses.push(status));
  onInvalidate(bus, ({ tags }) => void seen.push(...tags));
  await bus.ready();
  await daemon.publish([invalidation({ tags: ["y"] })]);
  await expect.poll(() => seen).toContain("y");
  expect(statuses).toEqual([]);
});

test("a listener that leaves and comes back at once subscribes once, as in React's StrictMode", async () => {
  const { peer, bus } = await subscribedToFake();
  const stop = onInvalidate(bus, () => {});
  stop();
  const again = onInvalidate(bus, () => {});
  bus.on("order-status", () => {});
  // The next frame is of the other channel.
  expect(await peer.receive()).toMatchObject({ type: "subscribe", channel: "order-status" });
  again();
});

test("what was invalidated shortly before the connection is reported, unless it begins now", async () => {
  const daemon = await startDaemon();
  await daemon.publish([invalidation({ tags: ["before"] })]);
  const [bus, other] = [busOf(daemon.url), busOf(daemon.url)];
  const [seen, seenNow]: [string[], string[]] = [[], []];
  onInvalidate(bus, ({ all, tags }) => seen.push(...(all ? ["all"] : tags)));
  onInvalidate(other, ({ all, tags }) => seenNow.push(...(all ? ["all"] : tags)), { since: "now" });
  await bus.ready();
  await other.ready();
  await daemon.publish([invalidation({ tags: ["after"] })]);
  await expect.poll(() => seen).toEqual(["before", "after"]);
  await expect.poll(() => seenNow).toEqual(["after"]);
});

test("a listener that comes later is told what was invalidated shortly before, too, and the others nothing again", async () => {
  const daemon = await startDaemon();
  const bus = busOf(daemon.url);
  const [first, second, now]: string[][] = [[], [], []];
  onInvalidate(bus, ({ tags }) => first!.push(...tags));
  await bus.ready();
  await daemon.publish([invalidation({ tags: ["a"] })]);
  await daemon.publish([invalidation({ tags: ["b"] })]);
  await expect.poll(() => first).toEqual(["a", "b"]);
  // As a part of a page does that is shown with data from before the invalidation.
  onInvalidate(bus, ({ tags }) => second!.push(...tags));
  onInvalidate(bus, ({ tags }) => now!.push(...tags), { since: "now" });
  await bus.ready();
  await daemon.publish([invalidation({ tags: ["c"] })]);
  await expect.poll(() => [first, second, now]).toEqual([["a", "b", "c"], ["a", "b", "c"], ["c"]]);
});

test("a listener that comes later is told nothing from longer before, and everything where that was too much to remember", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const { peer, seen, bus } = await subscribedToFake();
  const late = () => {
    const told: Invalidated[] = [];
    onInvalidate(bus, (what) => told.push(what));
    return told;
  };
  peer.send(event(1, { tags: ["a"] }));
  await expect.poll(() => seen).toHaveLength(1);
  vi.advanceTimersByTime(10_001);
  peer.send(event(2, { tags: ["b"] }));
  await expect.poll(() => seen).toHaveLength(2);
  const told = late();
  await expect.poll(() => told).toEqual([{ ...NOTHING, tags: ["b"], position: "e:2" }]);
  for (let offset = 3; offset < 1_010; offset++) peer.send(event(offset, { tags: [`t${offset}`] }));
  await expect.poll(() => seen.at(-1)?.tags).toContain("t1009");
  const lost = late();
  await expect.poll(() => lost).toEqual([{ ...NOTHING, all: true, position: "e:1009" }]);
});

test("each listener that begins at a position is told everything since then", async () => {
  const daemon = await startDaemon();
  const bus = busOf(daemon.url);
  await daemon.publish([invalidation({ tags: ["before"] })]);
  const [first, second]: string[][] = [[], []];
  onInvalidate(bus, ({ tags }) => first!.push(...tags), { since: "start" });
  await expect.poll(() => first).toEqual(["before"]);
  await daemon.publish([invalidation({ tags: ["after"] })]);
  await expect.poll(() => first).toEqual(["before", "after"]);
  onInvalidate(bus, ({ tags }) => second!.push(...tags), { since: "start" });
  await expect.poll(() => second).toEqual(["before", "after"]);
  expect(first).toEqual(["before", "after"]);
});

test("a connection that takes longer than it looks back reports everything", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => void vi.useRealTimers());
  const fake = await FakeDaemon.start();
  started.push(() => fake.stop());
  const bus = busOf(fake.url);
  const seen: Invalidated[] = [];
  onInvalidate(bus, (what) => seen.push(what));
  const peer = await fake.connection();
  vi.setSystemTime(Date.now() + 10_001);
  peer.welcome();
  const frame = await peer.receive();
  expect(frame).toMatchObject({ type: "subscribe", channel: "cache-invalidate", since: "10000ms" });
  peer.send({ type: "subscribed", sub: (frame as { sub: string }).sub, channel: "cache-invalidate", position: "e:0", recovered: true });
  await expect.poll(() => seen).toMatchObject([{ ...NOTHING, all: true }]);
});

test("a reconnect reports what was missed and no more, and a lost log reports everything", async () => {
  let daemon = await startDaemon();
  const { port } = daemon;
  const proxy = await Proxy.before(port);
  started.push(() => proxy.stop());
  const bus = busOf(proxy.url);
  bus.onError(() => {});
  const seen: string[] = [];
  onInvalidate(bus, ({ all, tags }) => seen.push(...(all ? ["all"] : tags)));
  await bus.ready();
  proxy.close();
  await expect.poll(() => bus.state.status).toBe("reconnecting");
  await daemon.publish([invalidation({ tags: ["missed"] })]);
  proxy.mend();
  await expect.poll(() => seen).toEqual(["missed"]);
  await bus.ready();
  // Nothing is published while this connection is away.
  const states: string[] = [];
  bus.onState(({ status }) => states.push(status));
  proxy.cut();
  await expect.poll(() => states).toContain("open");
  await bus.ready();
  await bus.sync();
  expect(seen).toEqual(["missed"]);
  // The log was in the memory of the daemon.
  await daemon.kill();
  daemon = await startDaemon(port);
  await expect.poll(() => seen).toEqual(["missed", "all"]);
});

test("an invalidation with a hold is reported when its writer has ended, or when the hold is over", async () => {
  const { peer, seen } = await subscribedToFake();
  peer.send(event(1, { tags: ["ends"], holdMs: 60_000 }, { id: "w1" }));
  peer.send(event(2, { tags: ["ends"], holdMs: 60_000 }, { id: "renewal", causationid: "w1" }));
  peer.send(event(3, { tags: ["dies"], holdMs: 50 }, { id: "w2" }));
  await expect.poll(() => seen).toMatchObject([{ ...NOTHING, tags: ["dies"] }]);
  peer.send(event(4, { tags: ["ends"] }, { id: "end", causationid: "w1" }));
  await expect.poll(() => seen.slice(1)).toMatchObject([{ ...NOTHING, tags: ["ends"] }]);
});

test("a report names the position to go on from, which is before what is held back", async () => {
  const { peer, seen, bus } = await subscribedToFake();
  peer.send(event(1, { tags: ["a"] }));
  await expect.poll(() => seen.map(({ position }) => position)).toEqual(["e:1"]);
  peer.send(event(2, { tags: ["held"], holdMs: 60_000 }, { id: "w" }));
  peer.send(event(3, { tags: ["b"] }));
  await expect.poll(() => seen.map(({ position }) => position)).toEqual(["e:1", "e:1"]);
  peer.send(event(4, { tags: ["held"] }, { id: "end", causationid: "w" }));
  await expect.poll(() => seen.slice(2)).toMatchObject([{ tags: ["held"], position: "e:4" }]);
  peer.send({ type: "gap", channel: "cache-invalidate", from: "e:4", position: "f:9" });
  await expect.poll(() => seen.slice(3)).toMatchObject([{ all: true, position: "f:9" }]);
  expect(bus.positions.get("cache-invalidate")).toBe("f:9");
});

test("a signal removes a listener, and an aborted one adds none", async () => {
  const { peer, seen, bus } = await subscribedToFake();
  const controller = new AbortController();
  const [other, none] = [vi.fn(), vi.fn()];
  onInvalidate(bus, other, { signal: controller.signal });
  peer.send(event(1, { tags: ["a"] }));
  await expect.poll(() => other.mock.calls).toHaveLength(1);
  controller.abort();
  onInvalidate(bus, none, { signal: controller.signal });
  peer.send(event(2, { tags: ["b"] }));
  await expect.poll(() => seen).toHaveLength(2);
  expect([other.mock.calls.length, none.mock.calls.length]).toEqual([1, 0]);
});

test("a listener that fails does not keep the others from being called", async () => {
  const error = vi.spyOn(console, "error").mockImplementation(() => {});
  onTestFinished(() => error.mockRestore());
  const { peer, seen, bus } = await subscribedToFake(() => {
    throw new Error("no");
  });
  onInvalidate(bus, (what) => seen.push(what));
  peer.send(event(1, { tags: ["a"] }));
  await expect.poll(() => seen).toMatchObject([{ ...NOTHING, tags: ["a"] }]);
  expect(error).toHaveBeenCalledWith("tidings: a listener of onInvalidate failed:", expect.any(Error));
});

test("a closed bus has no invalidations", () => {
  const bus = connect("http://127.0.0.1:1");
  bus.close();
  expect(() => onInvalidate(bus, () => {})).toThrow("the bus is closed");
});

describe("a subscription that the daemon refuses", () => {
  test("is reported, everything may be out of date, and the next listener subscribes again", async () => {
    const { fake, bus, errors } = await withFake();
    const [seen, told, later]: [Invalidated[], string[], Invalidated[]] = [[], [], []];
    onInvalidate(bus, (what) => seen.push(what), { onError: ({ code }) => told.push(code) });
    const peer = (await fake.connection()).welcome();
    const { sub } = await peer.receiveSubscribe();
    peer.send({ type: "error", code: "forbidden", message: "no grant", sub });
    await expect.poll(() => told).toEqual(["forbidden"]);
    expect([seen, errors.map(({ code }) => code)]).toEqual([[{ ...NOTHING, all: true }], ["forbidden"]]);
    // The grant is there now.
    onInvalidate(bus, (what) => later.push(what));
    await peer.confirmSubscribe();
    peer.send(event(1, { tags: ["a"] }));
    await expect.poll(() => later).toMatchObject([{ tags: ["a"] }]);
    expect(seen).toHaveLength(1);
  });

  test("is in the console, unless every listener or the bus is told", async () => {
    const error = vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => error.mockRestore());
    const { fake, bus } = await withFake(false);
    onInvalidate(bus, () => {});
    const peer = (await fake.connection()).welcome();
    const { sub } = await peer.receiveSubscribe();
    peer.send({ type: "error", code: "forbidden", message: "no grant", sub });
    await expect.poll(() => error.mock.calls).toEqual([["tidings:", expect.objectContaining({ code: "forbidden" })]]);
    const told = vi.fn();
    onInvalidate(bus, () => {}, { onError: told });
    peer.send({ type: "error", code: "forbidden", message: "no grant", sub: (await peer.receiveSubscribe()).sub });
    await expect.poll(() => told.mock.calls).toHaveLength(1);
    expect(error.mock.calls).toHaveLength(1);
  });

  test("because of its position goes on with what comes now, and everything may be out of date", async () => {
    const { fake, bus, errors } = await withFake();
    const seen: Invalidated[] = [];
    onInvalidate(bus, (what) => seen.push(what), { since: "damaged:1" });
    const peer = (await fake.connection()).welcome();
    const { sub, since } = await peer.receiveSubscribe();
    expect(since).toBe("damaged:1");
    peer.send({ type: "error", code: "invalid-position", message: "no such position", sub });
    expect((await peer.receiveSubscribe()).since).toBe("now");
    await expect.poll(() => seen).toEqual([{ ...NOTHING, all: true, position: undefined }]);
    expect(errors.map(({ code }) => code)).toEqual(["invalid-position"]);
  });

  test("for good, with the whole connection, tells each listener", async () => {
    const { fake, bus } = await withFake();
    const [seen, told]: [Invalidated[], string[]] = [[], []];
    onInvalidate(bus, (what) => seen.push(what), { onError: ({ code }) => told.push(code) });
    const peer = (await fake.connection()).welcome();
    await peer.confirmSubscribe();
    peer.socket.close(4004, "revoked");
    await expect.poll(() => told).toEqual(["unauthenticated"]);
    expect(seen).toMatchObject([{ all: true }]);
  });
});

/** A bus of a fake daemon, with a listener of its errors. */
async function withFake(listens = true) {
  const fake = await FakeDaemon.start();
  started.push(() => fake.stop());
  const bus = busOf(fake.url);
  const errors: TidingsError[] = [];
  if (listens) bus.onError((error) => errors.push(error));
  return { fake, bus, errors };
}

/** A fake daemon with a subscription to invalidations. */
async function subscribedToFake(listener?: (what: Invalidated) => void) {
  const fake = await FakeDaemon.start();
  started.push(() => fake.stop());
  const bus = busOf(fake.url);
  const seen: Invalidated[] = [];
  onInvalidate(bus, listener ?? ((what) => seen.push(what)));
  const peer = await fake.connection();
  peer.welcome();
  await peer.confirmSubscribe();
  await bus.ready();
  return { peer, bus, seen };
}

/** A delivered invalidation. */
function event(offset: number, data: object, attributes: object = {}): any {
  const event = { specversion: "1.0", type: "cache-invalidate", id: `i${offset}`, source: "s", time: "2026-11-28T00:00:00Z", data, ...attributes };
  return { type: "event", position: `e:${offset}`, event };
}
