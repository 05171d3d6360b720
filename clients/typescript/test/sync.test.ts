// `bus.sync()` against a fake daemon: which calls share a frame, and what happens when the connection or the answer fails.

import { afterEach, expect, test } from "vitest";

import { type Bus, connect } from "../src/index.js";
import { FakeDaemon, type Peer } from "./fake.js";

const started: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of started.splice(0).reverse()) await end();
});

async function start(): Promise<{ daemon: FakeDaemon; bus: Bus }> {
  const daemon = await FakeDaemon.start();
  started.push(() => daemon.stop());
  const bus = connect(daemon.url, { backoff: { minMs: 1, maxMs: 5 } });
  started.push(() => bus.close());
  bus.onError(() => {});
  return { daemon, bus };
}

async function receiveSync(peer: Peer): Promise<string> {
  const frame = await peer.receive();
  if (frame.type !== "sync") throw new Error(`expected a sync frame, received ${frame.type}`);
  return frame.id;
}

test("calls at the same moment share a frame, and a later call has its own", async () => {
  const { daemon, bus } = await start();
  const both = Promise.all([bus.sync(), bus.sync()]);
  const peer = (await daemon.connection()).welcome();
  const first = await receiveSync(peer);
  const later = bus.sync();
  const second = await receiveSync(peer);
  expect(second).not.toBe(first);
  peer.send({ type: "synced", id: first, positions: { "order-status": "e:3" } });
  for (const positions of await both) expect([...positions]).toEqual([["order-status", "e:3"]]);
  peer.send({ type: "synced", id: second, positions: {} });
  expect((await later).size).toBe(0);
});

test("a frame is sent only when every subscription is live", async () => {
  const { daemon, bus } = await start();
  const seen: string[] = [];
  bus.on("order-status", ({ orderId }) => seen.push(orderId));
  const synced = bus.sync().then(() => seen.length);
  const peer = (await daemon.connection()).welcome();
  await peer.confirmSubscribe();
  const id = await receiveSync(peer);
  peer.event("order-status", { orderId: "1", newStatus: "shipped" });
  peer.send({ type: "synced", id, positions: {} });
  expect(await synced).toBe(1);
});

test("after a reconnect, what has no answer is asked again, behind the subscriptions", async () => {
  const { daemon, bus } = await start();
  bus.on("order-status", () => {});
  const first = (await daemon.connection()).welcome();
  await first.confirmSubscribe();
  const synced = Promise.all([bus.sync(), new Promise((resolve) => setTimeout(resolve, 1)).then(() => bus.sync())]);
  await receiveSync(first);
  await receiveSync(first);
  first.socket.terminate();
  const second = (await daemon.connection()).welcome();
  await second.confirmSubscribe("e:0", true);
  second.send({ type: "synced", id: await receiveSync(second), positions: {} });
  expect(await synced).toHaveLength(2);
});

test("at most eight frames are outstanding, and those who wait share the next one", async () => {
  const { daemon, bus } = await start();
  let answered = 0;
  const ask = () => bus.sync().then(() => void answered++);
  const calls = [ask()];
  const peer = (await daemon.connection()).welcome();
  const ids = [await receiveSync(peer)];
  while (ids.length < 8) {
    calls.push(ask());
    ids.push(await receiveSync(peer));
  }
  for (let count = 0; count < 5; count++) {
    calls.push(ask());
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  // The next frame comes only after an answer, and is the last one.
  peer.send({ type: "synced", id: ids[0]!, positions: {} });
  ids[0] = await receiveSync(peer);
  for (const id of ids) peer.send({ type: "synced", id, positions: {} });
  await Promise.all(calls);
  expect(answered).toBe(13);
});

test("an error with the id of a frame rejects its calls alone", async () => {
  const { daemon, bus } = await start();
  const failing = bus.sync();
  const peer = (await daemon.connection()).welcome();
  const first = await receiveSync(peer);
  const other = bus.sync();
  const second = await receiveSync(peer);
  peer.send({ type: "error", code: "broker-unavailable", message: "no broker", id: first });
  await expect(failing).rejects.toMatchObject({ name: "TidingsError", code: "broker-unavailable" });
  peer.send({ type: "synced", id: second, positions: {} });
  await other;
});

test("a daemon that does not know the frame rejects it clearly", async () => {
  const { daemon, bus } = await start();
  const synced = bus.sync();
  const peer = (await daemon.connection()).welcome();
  await receiveSync(peer);
  peer.send({ type: "error", code: "unknown-frame", message: "there is no frame sync" });
  await expect(synced).rejects.toMatchObject({ code: "unknown-frame" });
});

test("close and an aborted signal end the waiting", async () => {
  const { daemon, bus } = await start();
  const aborted = bus.sync({ signal: AbortSignal.timeout(1) });
  const closed = bus.sync();
  closed.catch(() => {});
  await expect(aborted).rejects.toMatchObject({ name: "TimeoutError" });
  (await daemon.connection()).welcome();
  bus.close();
  await expect(closed).rejects.toMatchObject({ code: "closed" });
  await expect(bus.sync()).rejects.toMatchObject({ code: "closed" });
});
