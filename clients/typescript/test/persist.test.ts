// Persistence, with a fake daemon and a storage in memory: what a reloaded page gets, and which position is stored.
// test/persist-storage.test.ts has the storage, test/persist-browser.test.ts a real browser.

import { describe, expect, test } from "vitest";

import type { InventoryChange } from "../src/index.js";
import { channel, connection, ended, handled, hide, open, sale, seen, setUp, storage, WHERE } from "./persist-page.js";

setUp();

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
    expect(position()).toBe("e:0");
    await loop.next();
    expect(position()).toBe("e:0");
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

test("a subscription whose first events are not finished with goes on before them, in the same page and in the next one", async () => {
  const page = open();
  const loop = page.bus.events(channel);
  const peer = await connection();
  await peer.confirmSubscribe("e:5");
  for (const offset of [6, 7]) sale(peer, offset, "a");
  await handled(page.bus, peer, "e:7");
  await loop.return?.();
  expect(await peer.receive()).toMatchObject({ type: "unsubscribe" });
  const quantities = seen(page);
  const { sub, since } = await peer.receiveSubscribe();
  expect(since).toBe("e:5");
  page.bus.close();
  expect([sub, quantities]).toEqual([expect.any(String), []]);
  expect(storage.records).toMatchObject([{ position: "e:5", events: [] }]);
});

test("where a subscription goes on behind the newest events, no older event follows a newer one", async () => {
  const page = open();
  // It never finishes with its first event.
  const stop = page.bus.on(channel, () => new Promise(() => {}));
  const peer = await connection();
  await peer.confirmSubscribe("e:0");
  await page.bus.ready();
  hide();
  for (const offset of [1, 2]) sale(peer, offset, "a");
  await handled(page.bus, peer, "e:2");
  stop();
  expect(await peer.receive()).toMatchObject({ type: "unsubscribe" });
  const [quantities, others] = [seen(page), seen(page)];
  const { sub, since } = await peer.receiveSubscribe();
  expect(since).toBe("e:0");
  peer.send({ type: "subscribed", sub, channel, position: "e:0", recovered: true });
  for (const offset of [1, 2, 3]) sale(peer, offset, "a");
  await handled(page.bus, peer, "e:3");
  expect([quantities, others, seen(page)]).toEqual([[1, 2, 3], [1, 2, 3], []]);
  // One that comes now has what the others have.
  const late = seen(page);
  await Promise.resolve();
  expect(late).toEqual([-3]);
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
