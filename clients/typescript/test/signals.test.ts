// A signal of the application outlives many buses: nothing of a subscription, a listener or a call stays on it after their end.

import { getEventListeners } from "node:events";

import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";

import { type Bus, connect, onInvalidate } from "../src/index.js";
import { FakeDaemon } from "./fake.js";

let daemon: FakeDaemon;
/** The signal of the application. */
let signal: AbortSignal;
let controller: AbortController;

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  controller = new AbortController();
  signal = controller.signal;
});

afterEach(() => daemon.stop());

function open(): Bus {
  const bus = connect(daemon.url);
  bus.onError(() => {});
  onTestFinished(() => bus.close());
  return bus;
}

const count = () => getEventListeners(signal, "abort").length;

test.each<[string, (bus: Bus) => void]>([
  ["on", (bus) => bus.on("order-status", { signal }, () => {})],
  ["on, with the newest events first", (bus) => bus.on("order-status", { signal, since: "latest" }, () => {})],
  ["watch", (bus) => bus.watch("order-status", "o1", { signal }, () => {})],
  ["events", (bus) => bus.events("order-status", { signal })],
  ["onState", (bus) => bus.onState(() => {}, { signal })],
  ["onGap", (bus) => bus.onGap(() => {}, { signal })],
  ["onError", (bus) => bus.onError(() => {}, { signal })],
  ["onInvalidate", (bus) => onInvalidate(bus, () => {}, { signal })],
  ["ready", (bus) => bus.ready({ signal }).catch(() => {})],
  ["sync", (bus) => bus.sync({ signal }).catch(() => {})],
  ["publish", (bus) => bus.publish("order-status", { orderId: "1", newStatus: "shipped" }, { signal }).catch(() => {})],
  ["latest", (bus) => bus.latest("order-status", "o1", { signal }).catch(() => {})],
])("a closed bus leaves nothing on the signal of %s", async (_name, use) => {
  for (let round = 0; round < 3; round++) {
    const bus = open();
    use(bus);
    bus.close();
  }
  await expect.poll(count).toBe(0);
});

test.each<[string, (bus: Bus) => void]>([
  ["on", (bus) => bus.on("order-status", { signal, onError: () => {} }, () => {})],
  ["events", (bus) => bus.events("order-status", { signal }).next().catch(() => {})],
  ["onInvalidate", (bus) => onInvalidate(bus, () => {}, { signal, onError: () => {} })],
])("a subscription that the daemon refuses leaves nothing on the signal of %s", async (_name, use) => {
  const bus = open();
  use(bus);
  expect(count()).toBe(1);
  const peer = (await daemon.connection()).welcome();
  const { sub } = await peer.receiveSubscribe();
  peer.send({ type: "error", code: "forbidden", message: "not this one", sub });
  await expect.poll(count).toBe(0);
});

test("a listener whose signal was aborted is not called, and does not keep errors from the console", async () => {
  const bus = connect(daemon.url);
  onTestFinished(() => bus.close());
  const [state, error, log] = [vi.fn(), vi.fn(), vi.spyOn(console, "error").mockImplementation(() => {})];
  onTestFinished(() => log.mockRestore());
  bus.onState(state, { signal });
  bus.onError(error, { signal });
  controller.abort();
  bus.onState(state, { signal });
  bus.on("order-status", () => {});
  const peer = (await daemon.connection()).welcome();
  const { sub } = await peer.receiveSubscribe();
  peer.send({ type: "error", code: "forbidden", message: "not this one", sub });
  await expect.poll(() => log.mock.calls.length).toBe(1);
  expect([state.mock.calls.length, error.mock.calls.length]).toEqual([0, 0]);
});
