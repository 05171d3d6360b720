// Persistence, with a fake daemon and a storage in memory: what is stored when, and what a damaged or full storage does.
// test/persist-browser.test.ts has the same in a real browser.

import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";

import { type Bus, connect, type ConnectOptions, type InventoryChange, type OnOptions, type TidingsError } from "../src/index.js";
import { localStoragePersistence, type LocalStoragePersistenceOptions, type WebStorage } from "../src/persist/index.js";
import { FakeDaemon, type Peer } from "./fake.js";

const channel = "inventory-change";
const WHERE = { where: { productId: "1" } };

/** A storage in memory. */
class MemoryStorage implements WebStorage {
  readonly texts = new Map<string, string>();
  writes = 0;
  /** Whether a write throws. */
  isFull = false;

  get length(): number {
    return this.texts.size;
  }

  key(index: number): string | null {
    return [...this.texts.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    return this.texts.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.writes += 1;
    if (this.isFull) throw new DOMException("The quota has been exceeded.", "QuotaExceededError");
    this.texts.set(key, value);
  }

  removeItem(key: string): void {
    this.texts.delete(key);
  }

  /** The stored record of each subscription. */
  get records(): { position: string; events: [string, { subject: string; data: InventoryChange }][] }[] {
    return [...this.texts.values()].map((text) => JSON.parse(text));
  }
}

let daemon: FakeDaemon;
let storage: MemoryStorage;
let page: EventTarget;

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  storage = new MemoryStorage();
  page = new EventTarget();
  vi.stubGlobal("window", page);
  vi.stubGlobal("document", Object.assign(new EventTarget(), { visibilityState: "visible" }));
});

afterEach(async () => {
  vi.unstubAllGlobals();
  await daemon.stop();
});

/** The page may be about to end. */
const hide = () => page.dispatchEvent(new Event("pagehide"));

/** A bus of a page, which the test may leave open: a browser ends a page without closing the bus. */
function open(options: LocalStoragePersistenceOptions = {}, connectOptions: ConnectOptions = {}) {
  const persist = localStoragePersistence({ storage, ...options });
  const bus = connect(daemon.url, { persist, backoff: { minMs: 5, maxMs: 5 }, ...connectOptions });
  onTestFinished(() => bus.close());
  const errors: TidingsError[] = [];
  bus.onError((error) => errors.push(error));
  return { bus, persist, errors };
}

/** Subscribes a handler, and returns the quantities that it receives. A restored one has a minus. */
function seen({ bus, persist }: ReturnType<typeof open>, options: OnOptions<InventoryChange> = {}): number[] {
  const quantities: number[] = [];
  bus.on(channel, options, ({ newQuantity }, event) => quantities.push(persist.isRestored(event) ? -newQuantity : newQuantity));
  return quantities;
}

function sale(peer: Peer, offset: number, subject: string | undefined, epoch = "e"): void {
  const data = { productId: "1", oldQuantity: 100, newQuantity: offset, reason: "sale" };
  const id = `${epoch}:${offset}`;
  const event = { specversion: "1.0", id, source: "test", time: "2026-11-21T00:00:00Z", dataschema: "urn:x", type: channel, subject, data } as const;
  peer.send({ type: "event", position: id, event });
}

/** Sends a heartbeat, and waits until the client has handled it and every frame before it. */
async function handled(bus: Bus, peer: Peer, position: string): Promise<void> {
  peer.send({ type: "heartbeat", positions: { [channel]: position } });
  await expect.poll(() => bus.positions.get(channel)).toBe(position);
}

const connection = async () => (await daemon.connection()).welcome();

/** A page that has received these events, and has ended. */
async function ended(subjects: readonly (string | undefined)[], position: string, options: OnOptions<InventoryChange> = {}): Promise<void> {
  const first = open();
  seen(first, options);
  const peer = await connection();
  await peer.confirmSubscribe("e:0");
  subjects.forEach((subject, index) => sale(peer, index + 1, subject));
  await handled(first.bus, peer, position);
  hide();
  first.bus.close();
}

describe("a reloaded page", () => {
  test("gets the newest event of each subject before it is connected, and resumes at its position", async () => {
    await ended(["a", "b", "a", undefined], "e:9", WHERE);
    const second = open();
    const quantities = seen(second, WHERE);
    expect(quantities).toEqual([]);
    await Promise.resolve();
    // The one that changed last comes last.
    expect(quantities).toEqual([-2, -3]);
    const peer = await connection();
    expect(await peer.receiveSubscribe()).toMatchObject({ channel, since: "e:9", where: { productId: "1" } });
    peer.send({ type: "subscribed", sub: "s1", channel, position: "e:9", recovered: true });
    sale(peer, 10, "a");
    await expect.poll(() => quantities).toEqual([-2, -3, 10]);
  });

  test("gets events with their positions, each handler a copy of its own", async () => {
    await ended(["a"], "e:1");
    const { bus, persist } = open();
    const events: { subject?: string | undefined; data: InventoryChange }[] = [];
    for (const _ of "12") bus.on(channel, (data, event) => (data.reason += "!", events.push(event)));
    await expect.poll(() => events.length).toBe(2);
    expect(events.map(({ subject, data }) => [subject, data.reason])).toEqual([["a", "sale!"], ["a", "sale!"]]);
    expect(events.map((event) => [bus.positionOf(event), persist.isRestored(event)])).toEqual([["e:1", true], ["e:1", true]]);
  });

  test("gets stored events in a loop, however small its buffer is", async () => {
    await ended(["a", "b", "c"], "e:3");
    const { bus } = open();
    const loop = bus.events(channel, { buffer: 1 });
    const peer = await connection();
    await peer.confirmSubscribe("e:3", true);
    sale(peer, 4, "d");
    await handled(bus, peer, "e:4");
    const quantities: number[] = [];
    for await (const { data } of loop) if (quantities.push(data.newQuantity) === 4) break;
    expect(quantities).toEqual([1, 2, 3, 4]);
  });

  test("asks once for subscriptions that were at different positions, the earliest first", async () => {
    await ended(["a"], "e:7", { where: { productId: "2" } });
    await ended(["a"], "e:5", WHERE);
    const second = open();
    seen(second, { where: { productId: "2" } });
    seen(second, WHERE);
    const peer = await connection();
    expect(await peer.receiveSubscribe()).toMatchObject({ sub: "s2", since: "e:5" });
    expect(await peer.receiveSubscribe()).toMatchObject({ sub: "s1", since: "e:7" });
  });

  test("leaves a subscription alone that has a since of its own", async () => {
    await ended(["a"], "e:1");
    const second = open();
    const quantities = seen(second, { since: "now" });
    expect(await (await connection()).receiveSubscribe()).toMatchObject({ since: "now" });
    expect(quantities).toEqual([]);
  });
});

test("a handler that subscribes later gets the newest events first, without another subscription", async () => {
  const page = open();
  const stop = page.bus.on(channel, () => {});
  const peer = await connection();
  await peer.confirmSubscribe("e:0");
  for (const [index, subject] of ["a", "b", "a"].entries()) sale(peer, index + 1, subject);
  await handled(page.bus, peer, "e:3");
  const quantities = seen(page);
  await Promise.resolve();
  expect(quantities).toEqual([-2, -3]);
  sale(peer, 4, "c");
  await expect.poll(() => quantities).toEqual([-2, -3, 4]);
  // Who leaves and comes back goes on where it was.
  stop();
  sale(peer, 5, "c");
  await expect.poll(() => quantities.at(-1)).toBe(5);
  page.bus.close();
});

describe("a stored position is not beyond what was processed", () => {
  test("by an asynchronous handler", async () => {
    const page = open();
    const finish: (() => void)[] = [];
    page.bus.on(channel, () => new Promise<void>((resolve) => finish.push(resolve)));
    const peer = await connection();
    await peer.confirmSubscribe("e:0");
    await handled(page.bus, peer, "e:0");
    hide();
    expect(storage.records).toMatchObject([{ position: "e:0" }]);
    for (const offset of [1, 2]) sale(peer, offset, "a");
    await handled(page.bus, peer, "e:2");
    finish[1]?.();
    hide();
    hide();
    expect(storage.records).toMatchObject([{ position: "e:0", events: [] }]);
    finish[0]?.();
    await Promise.resolve();
    hide();
    expect(storage.records).toMatchObject([{ position: "e:2", events: [["e:2", { subject: "a" }]] }]);
  });

  test("by a loop, which has processed an event when it asks for the next one", async () => {
    const page = open();
    const loop = page.bus.events(channel);
    const peer = await connection();
    await peer.confirmSubscribe("e:0");
    for (const offset of [1, 2]) sale(peer, offset, "a");
    await handled(page.bus, peer, "e:5");
    const position = () => (hide(), hide(), storage.records[0]?.position);
    await loop.next();
    expect(position()).toBe(undefined);
    await loop.next();
    expect(position()).toBe(undefined);
    void loop.next();
    expect(position()).toBe("e:5");
  });

  test("by any of several handlers, when one of them closes the bus", async () => {
    const page = open();
    page.bus.on(channel, ({ newQuantity }) => void (newQuantity === 2 && page.bus.close()));
    const quantities = seen(page);
    const peer = await connection();
    await peer.confirmSubscribe("e:0");
    sale(peer, 1, "a");
    await handled(page.bus, peer, "e:1");
    hide();
    sale(peer, 2, "a");
    await expect.poll(() => page.bus.state.status).toBe("closed");
    expect(quantities).toEqual([1]);
    expect(storage.records).toMatchObject([{ position: "e:1" }]);
  });
});

describe("what is stored and of no use is dropped without an error", () => {
  const event = { specversion: "1.0", id: "1", type: channel, subject: "a", data: {} };
  const record = (change: object) => JSON.stringify({ v: 1, at: Date.now(), position: "e:3", events: [["e:3", event]], ...change });

  test.each([
    ["an empty text", ""],
    ["no JSON", '{"v":1,"at":'],
    ["another value", "null"],
    ["another version", record({ v: 2 })],
    ["no version", record({ v: undefined })],
    ["another day", record({ at: Date.now() - 25 * 3_600_000 })],
    ["a time in the future", record({ at: Date.now() + 25 * 3_600_000 })],
    ["no time", record({ at: "yesterday" })],
    ["no position", record({ position: 3 })],
    ["another position", record({ position: "start" })],
    ["no events", record({ events: {} })],
    ["an event without a position", record({ events: [event] })],
    ["an event of another type", record({ events: [["e:1", { ...event, type: "order-status" }]] })],
    ["an event without data", record({ events: [["e:1", { ...event, data: undefined }]] })],
    ["no event", record({ events: [["e:1", null]] })],
  ])("%s", async (_, text) => {
    await ended(["a"], "e:1");
    const [key] = storage.texts.keys();
    storage.setItem(key!, text);
    const second = open();
    const quantities = seen(second);
    expect((await (await connection()).receiveSubscribe()).since).toBeUndefined();
    expect([quantities, second.errors]).toEqual([[], []]);
    expect(storage.texts.size).toBe(0);
  });

  test("a position that the daemon refuses, which is reported", async () => {
    await ended(["a"], "e:1");
    const second = open();
    seen(second);
    const peer = await connection();
    const { sub } = await peer.receiveSubscribe();
    peer.send({ type: "error", code: "invalid-position", message: "no position", sub });
    expect((await peer.receiveSubscribe()).since).toBeUndefined();
    expect(second.errors.map(({ code }) => code)).toEqual(["invalid-position"]);
    expect(storage.texts.size).toBe(0);
  });
});

test("after a gap, values from before are not stored any longer", async () => {
  await ended(["a", "b"], "e:2");
  const second = open();
  const gaps: unknown[] = [];
  second.bus.onGap((gap) => gaps.push(gap));
  seen(second);
  const peer = await connection();
  const { sub } = await peer.receiveSubscribe();
  peer.send({ type: "subscribed", sub, channel, position: "f:0", recovered: false });
  await expect.poll(() => second.bus.positions.get(channel)).toBe("f:0");
  hide();
  // The gap is not told yet: a page that begins now must get it.
  expect(storage.records).toMatchObject([{ position: "e:2", events: [{}, {}] }]);
  peer.send({ type: "gap", channel, from: "e:2", position: "f:0" });
  sale(peer, 1, "a", "f");
  await handled(second.bus, peer, "f:1");
  hide();
  expect(gaps).toEqual([{ channel, from: "e:2", position: "f:0" }]);
  expect(storage.records).toEqual([{ v: 1, at: expect.any(Number), position: "f:1", events: [["f:1", expect.anything()]] }]);
});

test("a log that goes on with lower positions after a gap replaces what was stored", async () => {
  await ended(["a"], "e:500");
  const second = open();
  seen(second);
  const peer = await connection();
  await peer.confirmSubscribe("e:5", false);
  peer.send({ type: "gap", channel, from: "e:500", position: "e:5" });
  sale(peer, 6, "b");
  await handled(second.bus, peer, "e:6");
  hide();
  expect(storage.records).toMatchObject([{ position: "e:6", events: [["e:6", { subject: "b" }]] }]);
});

test("the gap of another subscription changes nothing for one that has lost nothing", async () => {
  await ended(["a"], "e:7");
  await ended(["b"], "e:3", WHERE);
  const second = open();
  seen(second);
  seen(second, WHERE);
  const peer = await connection();
  for (const [position, recovered] of [["e:5", false], ["e:7", true]] as const) await peer.confirmSubscribe(position, recovered);
  await second.bus.ready();
  peer.send({ type: "gap", channel, from: "e:3", position: "e:5" });
  await handled(second.bus, peer, "e:8");
  hide();
  expect(storage.records.map(({ position, events }) => [position, events.length])).toEqual([["e:8", 1], ["e:8", 0]]);
});

test("changes are written together, and at once when the page may end", async () => {
  const page = open();
  seen(page);
  const peer = await connection();
  await peer.confirmSubscribe("e:0");
  for (let offset = 1; offset <= 500; offset++) sale(peer, offset, `p${offset % 7}`);
  await handled(page.bus, peer, "e:500");
  expect(storage.writes).toBeLessThanOrEqual(5);
  hide();
  expect(storage.records).toMatchObject([{ position: "e:500" }]);
  const { writes } = storage;
  // Nothing has changed.
  hide();
  expect(storage.writes).toBe(writes);
  sale(peer, 501, "p1");
  // Not only then.
  await expect.poll(() => storage.records[0]?.position).toBe("e:501");
  Object.assign(document, { visibilityState: "hidden" });
  sale(peer, 502, "p1");
  await handled(page.bus, peer, "e:502");
  document.dispatchEvent(new Event("visibilitychange"));
  expect(storage.records[0]?.position).toBe("e:502");
});

test("a full storage is reported once, and everything else goes on", async () => {
  const page = open();
  storage.isFull = true;
  const quantities = seen(page);
  const peer = await connection();
  await peer.confirmSubscribe("e:0");
  for (const offset of [1, 2, 3]) {
    sale(peer, offset, "a");
    await handled(page.bus, peer, `e:${offset}`);
    hide();
  }
  expect(storage.writes).toBeGreaterThanOrEqual(3);
  expect(quantities).toEqual([1, 2, 3]);
  expect(page.errors).toMatchObject([{ code: "not-persisted", message: expect.stringContaining("The quota has been exceeded") }]);
  // Once there is room again, it is used.
  storage.isFull = false;
  hide();
  expect(storage.records).toMatchObject([{ position: "e:3" }]);
});

test("a storage that the browser denies is reported, and the bus goes on without", async () => {
  Object.defineProperty(globalThis, "localStorage", { configurable: true, get: () => { throw new DOMException("denied", "SecurityError"); } });
  const page = open({ storage: undefined });
  const quantities = seen(page);
  const peer = await connection();
  await peer.confirmSubscribe("e:0");
  sale(peer, 1, "a");
  await expect.poll(() => quantities).toEqual([1]);
  hide();
  expect(page.errors).toMatchObject([{ code: "not-persisted" }]);
  delete (globalThis as { localStorage?: unknown }).localStorage;
});

test("on a server, a bus with persistence is one without", async () => {
  vi.unstubAllGlobals();
  vi.stubGlobal("localStorage", storage);
  const page = open({ storage: undefined });
  const quantities = seen(page);
  const peer = await connection();
  expect((await peer.receiveSubscribe()).since).toBeUndefined();
  peer.send({ type: "subscribed", sub: "s1", channel, position: "e:0" });
  sale(peer, 1, "a");
  await expect.poll(() => quantities).toEqual([1]);
  page.bus.close();
  expect([storage.writes, page.errors]).toEqual([0, []]);
});

test("of several tabs, the one that is behind does not overwrite the others", async () => {
  const [ahead, behind] = [open(), open()];
  seen(ahead);
  const first = await connection();
  await first.confirmSubscribe("e:0");
  seen(behind);
  const second = await connection();
  await second.confirmSubscribe("e:0");
  sale(second, 1, "a");
  await handled(behind.bus, second, "e:1");
  sale(first, 1, "a");
  sale(first, 2, "b");
  await handled(ahead.bus, first, "e:2");
  // Both write now.
  hide();
  hide();
  expect(storage.records).toMatchObject([{ position: "e:2", events: [{}, {}] }]);
  behind.bus.close();
  expect(storage.records).toMatchObject([{ position: "e:2" }]);
  // In a new log, the tab that has heard of it knows better.
  first.send({ type: "gap", channel, from: "e:2", position: "f:0" });
  await handled(ahead.bus, first, "f:0");
  hide();
  expect(storage.records).toMatchObject([{ position: "f:0", events: [] }]);
});

test("what is stored is bounded", async () => {
  const first = open({ maxEvents: 3 });
  seen(first);
  let peer = await connection();
  await peer.confirmSubscribe("e:0");
  for (let offset = 1; offset <= 9; offset++) sale(peer, offset, `p${offset}`);
  await handled(first.bus, peer, "e:9");
  first.bus.close();
  expect(storage.records[0]?.events.map(([position]) => position)).toEqual(["e:7", "e:8", "e:9"]);

  const second = open({ maxSize: 4_000 });
  seen(second);
  peer = await connection();
  await peer.confirmSubscribe("e:9", true);
  for (let offset = 10; offset <= 99; offset++) sale(peer, offset, `p${offset}`);
  await handled(second.bus, peer, "e:99");
  hide();
  const [text] = storage.texts.values();
  expect(text?.length).toBeGreaterThan(500);
  expect(text?.length).toBeLessThanOrEqual(1_000);
  expect(storage.records[0]?.events.at(-1)?.[0]).toBe("e:99");

  // One for each product that the user looks at.
  for (let product = 0; product < 9; product++) {
    const stop = second.bus.on(channel, { where: { productId: `${product}` } }, () => {});
    await peer.confirmSubscribe("e:99");
    await second.bus.ready();
    stop();
    await peer.receive();
  }
  hide();
  expect([...storage.texts.values()].join("").length).toBeLessThanOrEqual(4_000);
  second.bus.close();
  const third = open({ maxSubscriptions: 2 });
  seen(third);
  await (await connection()).confirmSubscribe("e:99", true);
  await third.bus.ready();
  hide();
  expect(storage.texts.size).toBe(2);
});

describe("what belongs to a user", () => {
  test("is stored by name, and without the token", async () => {
    const first = open({ name: "ann" }, { token: "secret-1234" });
    seen(first);
    const peer = await daemon.connection();
    expect(await peer.receiveToken()).toBe("secret-1234");
    peer.welcome();
    await peer.confirmSubscribe("e:0");
    sale(peer, 1, "a");
    await handled(first.bus, peer, "e:1");
    first.bus.close();
    expect(storage.texts.size).toBe(1);
    expect(JSON.stringify([...storage.texts])).not.toContain("secret");
    const other = open({ name: "bob" });
    const quantities = seen(other);
    expect((await (await connection()).receiveSubscribe()).since).toBeUndefined();
    expect(quantities).toEqual([]);
    other.bus.close();
    const [key] = storage.texts.keys();
    storage.setItem("another program's", "text");
    await other.persist.clear();
    expect([...storage.texts.keys()]).toEqual([key, "another program's"]);
    await first.persist.clear();
    expect([...storage.texts.keys()]).toEqual(["another program's"]);
  });

  test.each([4001, 4003])("is removed when the daemon refuses the user with %d", async (code) => {
    await ended(["a"], "e:1");
    const second = open();
    seen(second);
    (await connection()).socket.close(code);
    await expect.poll(() => second.bus.state.status).toBe("closed");
    expect(storage.texts.size).toBe(0);
  });

  test("is removed when the user may not subscribe any longer", async () => {
    await ended(["a"], "e:1");
    const second = open();
    seen(second);
    const peer = await connection();
    const { sub } = await peer.receiveSubscribe();
    peer.send({ type: "error", code: "forbidden", message: "no", sub });
    await expect.poll(() => second.errors.map(({ code }) => code)).toEqual(["forbidden"]);
    hide();
    expect(storage.texts.size).toBe(0);
  });

  test("is forgotten by an open bus, too", async () => {
    const page = open();
    seen(page);
    const peer = await connection();
    await peer.confirmSubscribe("e:0");
    sale(peer, 1, "a");
    await handled(page.bus, peer, "e:1");
    await page.persist.clear();
    hide();
    expect(storage.records).toMatchObject([{ position: "e:1", events: [] }]);
  });
});
