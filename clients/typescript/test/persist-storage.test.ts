// Persistence and its storage, with a fake daemon: what is dropped, when it is written, a full storage, tabs, bounds, users.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { describe, expect, test, vi } from "vitest";

import { connect } from "../src/index.js";
import { localStoragePersistence } from "../src/persist/index.js";

import { channel, connection, daemon, ended, handled, hide, open, sale, seen, setUp, storage } from "./persist-page.js";

setUp();

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

  test("a position that the daemon refuses, which is a gap that says what is missing, before the next event", async () => {
    await ended(["a"], "e:1");
    const second = open();
    const heard: unknown[] = [];
    second.bus.onGap((gap) => heard.push(gap));
    second.bus.on(channel, (_, event) => heard.push(second.bus.positionOf(event)));
    const peer = await connection();
    const { sub } = await peer.receiveSubscribe();
    peer.send({ type: "error", code: "invalid-position", message: "no position", sub });
    await peer.confirmSubscribe("f:7");
    sale(peer, 8, "a", "f");
    await handled(second.bus, peer, "f:9");
    const reason = "the stored position was refused: what came since is unknown";
    // The first one is restored.
    expect(heard).toEqual(["e:1", { channel, from: "e:1", position: "f:7", reason }, "f:8"]);
  });
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
    // What stays tells other tabs when it was, and has no name.
    const mark = expect.stringMatching(/^tidings:cleared:-?\w+$/);
    await other.persist.clear();
    expect([...storage.texts.keys()]).toEqual([key, "another program's", mark]);
    await first.persist.clear();
    expect([...storage.texts.keys()]).toEqual(["another program's", mark, mark]);
    expect(JSON.stringify([...storage.texts])).not.toContain("ann");
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

  test("is forgotten by the open bus of another tab, which keeps what came afterwards", async () => {
    const [here, there] = [open(), open()];
    seen(there);
    const peer = await connection();
    await peer.confirmSubscribe("e:0");
    sale(peer, 1, "a");
    await handled(there.bus, peer, "e:1");
    hide();
    await here.persist.clear();
    const clearedAt = Date.now();
    await expect.poll(() => Date.now()).toBeGreaterThan(clearedAt);
    sale(peer, 2, "b");
    await handled(there.bus, peer, "e:2");
    hide();
    expect(storage.records).toMatchObject([{ position: "e:2", events: [["e:2", { subject: "b" }]] }]);
    there.bus.close();
    // The next page knows the mark only by what was written since.
    const next = open();
    const quantities = seen(next);
    const another = await connection();
    await another.confirmSubscribe("e:2", true);
    await handled(next.bus, another, "e:3");
    hide();
    expect([quantities, storage.records]).toMatchObject([[-2], [{ position: "e:3", events: [["e:2", { subject: "b" }]] }]]);
  });
});

test("a bus that never subscribes leaves nothing behind: a server makes one for each page that it renders", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const persist = localStoragePersistence({ storage });
  const buses = Array.from({ length: 20 }, () => new WeakRef(connect(daemon.url, { persist })));
  await expect.poll(() => (collect(), buses.filter((bus) => bus.deref() !== undefined).length)).toBe(0);
});
