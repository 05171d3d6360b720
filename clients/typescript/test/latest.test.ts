// The newest event of each subject, with the real daemon: read, watched, and as the beginning of a subscription.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";

import { type Bus, connect, type ConnectOptions, type FetchLike, type TidingsError, type Transport } from "../src/index.js";
import { Daemon } from "./daemon.js";
import { FakeDaemon } from "./fake.js";

const CONFIG = '[types.inventory-change]\nlatest = "7d"\n';
const SHELF = JSON.stringify({
  type: "object",
  "x-tidings-key": "shelf",
  "x-tidings-latest": "7d",
  properties: { shelf: { type: "string" }, count: { type: "integer" } },
  required: ["shelf", "count"],
});

let folder: string;
let daemon: Daemon;
const started: (() => unknown)[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tidings-latest-"));
  await writeFile(join(folder, "tidings.toml"), CONFIG);
  await writeFile(join(folder, "stock-take.schema.json"), SHELF);
  daemon = await Daemon.start(["--config", join(folder, "tidings.toml"), "--schemas", folder]);
});

afterEach(async () => {
  for (const end of started.splice(0).reverse()) await end();
  await daemon.kill();
  await rm(folder, { recursive: true });
});

function open(options: ConnectOptions = {}, url = daemon.url): { bus: Bus<any>; errors: TidingsError[] } {
  const bus = connect<any>(url, { backoff: { minMs: 1, maxMs: 20 }, ...options });
  const errors: TidingsError[] = [];
  bus.onError((error) => errors.push(error));
  started.push(() => bus.close());
  return { bus, errors };
}

const sale = (productId: string, newQuantity: number) => ({ type: "inventory-change", data: { productId, oldQuantity: 0, newQuantity, reason: "sale" } });

/** `fetch`, but what it asks for below `/v1/latest` waits for `before`. */
const delayed = (before: (url: string) => Promise<unknown> | undefined): FetchLike => async (url, init) => {
  if (url.includes("/v1/latest/")) await before(url);
  return fetch(url, init as RequestInit);
};

test("latest reads the newest event of a subject, and opens no connection", async () => {
  const { bus } = open();
  await daemon.publish([sale("1", 5), sale("a/b c?", 7), sale("1", 4)]);
  const event = await bus.latest("inventory-change", "1");
  expect(event).toMatchObject({ subject: "1", data: { productId: "1", newQuantity: 4 } });
  expect(bus.positionOf(event!)).toMatch(/:3$/);
  expect((await bus.latest("inventory-change", "a/b c?"))?.data.newQuantity).toBe(7);
  expect(await bus.latest("inventory-change", "none")).toBeUndefined();
  expect(bus.state.status).toBe("idle");
  await expect(bus.latest("order-status", "1")).rejects.toMatchObject({ code: "latest-not-kept", status: 422 });
  await expect(bus.latest("no-such-type", "1")).rejects.toMatchObject({ code: "unknown-channel" });
});

test("a subject that no URL can have is refused, and not taken for one without an event", async () => {
  const { bus, errors } = open();
  await daemon.publish([sale(".", 1), sale("..", 2), sale("...", 3)]);
  for (const subject of [".", "..", ""]) {
    await expect(bus.latest("inventory-change", subject)).rejects.toMatchObject({
      code: "bad-request", message: expect.stringContaining(`the subject ${JSON.stringify(subject)}`),
    });
  }
  await expect(bus.latest("..", "healthz")).rejects.toMatchObject({ code: "bad-request" });
  expect((await bus.latest("inventory-change", "..."))?.data.newQuantity).toBe(3);
  const refused = vi.fn();
  bus.watch("inventory-change", "..", { onError: refused }, () => {});
  await expect.poll(() => refused.mock.calls).toMatchObject([[{ code: "bad-request" }]]);
  expect(errors).toMatchObject([{ code: "bad-request" }]);
});

test("latest ends with its signal, and with the bus", async () => {
  const hanging = vi.fn(() => new Promise(() => {}));
  const { bus } = open({ fetch: (_url, { signal }) => new Promise((_, reject) => (hanging(), signal.addEventListener("abort", () => reject(signal.reason)))) });
  const controller = new AbortController();
  const reading = bus.latest("inventory-change", "1", { signal: controller.signal });
  const other = bus.latest("inventory-change", "2");
  await expect.poll(() => hanging.mock.calls).toHaveLength(2);
  controller.abort(new Error("enough"));
  await expect(reading).rejects.toThrow("enough");
  bus.close();
  await expect(other).rejects.toMatchObject({ code: "closed" });
  await expect(bus.latest("inventory-change", "1", { signal: controller.signal })).rejects.toThrow();
});

test("watch calls its handler with what is newest, then with what is newer, of its subject alone", async () => {
  const { bus, errors } = open();
  await daemon.publish([sale("1", 5), sale("1", 4), sale("2", 9)]);
  const [one, none]: number[][] = [[], []];
  const stop = bus.watch("inventory-change", "1", ({ newQuantity }) => one!.push(newQuantity));
  bus.watch("inventory-change", "none", ({ newQuantity }) => none!.push(newQuantity));
  await bus.ready();
  expect([one, none]).toEqual([[4], []]);
  await daemon.publish([sale("2", 8), sale("1", 3), sale("none", 1)]);
  await expect.poll(() => [one, none]).toEqual([[4, 3], [1]]);
  stop();
  await daemon.publish([sale("1", 2), sale("none", 0)]);
  await expect.poll(() => none).toEqual([1, 0]);
  expect(one).toEqual([4, 3]);
  expect(errors).toEqual([]);
});

test("the daemon sends a watcher only what concerns its subject, also of an own type", async () => {
  const received: string[] = [];
  const { bus } = open({
    WebSocket: class extends WebSocket {
      constructor(url: string, protocol?: string) {
        super(url, protocol);
        this.addEventListener("message", ({ data }) => /"type":"event"/.test(String(data)) && received.push(String(data)));
      }
    } as never,
  });
  const take = (shelf: string, count: number) => ({ type: "stock-take", data: { shelf, count } });
  await daemon.publish([take("a", 1), take("b", 1)]);
  const seen: number[] = [];
  bus.watch("stock-take", "a", ({ count }: { count: number }) => seen.push(count));
  bus.watch("inventory-change", "1", () => {});
  await bus.ready();
  await daemon.publish([take("b", 2), sale("2", 1), take("a", 2)]);
  await expect.poll(() => seen).toEqual([1, 2]);
  expect(received).toHaveLength(1);
});

test("a refused watcher is told so, and its bus goes on", async () => {
  const { bus, errors } = open();
  const refused = vi.fn();
  bus.watch("order-status", "1", { onError: refused }, () => {});
  await expect.poll(() => refused.mock.calls).toMatchObject([[{ code: "latest-not-kept" }]]);
  expect(errors).toMatchObject([{ code: "latest-not-kept" }]);
  await bus.ready();
  await expect.poll(() => daemon.subscribers("order-status")).toBe(0);
  await expect(bus.events("order-status", { since: "latest" }).next()).rejects.toMatchObject({ code: "latest-not-kept" });
  expect(() => bus.watch("order-status", "1", { where: { orderId: undefined } as never }, () => {})).toThrow("where.orderId is undefined");
});

test.each<[Transport]>([["websocket"], ["sse"], ["long-poll"]])("since latest: the newest of each subject, then every new event, without loss or repetition: %s", { timeout: 60_000 }, async (transport) => {
  const subjects = ["0", "1", "2", "3", "4"];
  const [publisher, total] = [open().bus, 400];
  await daemon.publish(subjects.map((subject) => sale(subject, 0)));
  const published = (async () => {
    for (let number = 1; number <= total; number++) {
      await publisher.publishAll(subjects.map((subject) => sale(subject, number)) as never);
    }
  })();
  const all: { bus: Bus<any>; seen: Map<string, number[]> }[] = [];
  for (let count = 0; count < 8; count++) {
    const { bus } = open({ transports: [transport] });
    const seen = new Map<string, number[]>(subjects.map((subject) => [subject, []]));
    // On a channel that is live already, and on one that is not.
    if (count % 2 === 0) {
      bus.on("inventory-change", () => {});
      await bus.ready();
    }
    bus.on("inventory-change", { since: "latest" }, ({ productId, newQuantity }) => seen.get(productId)!.push(newQuantity));
    all.push({ bus, seen });
  }
  await published;
  for (const { bus, seen } of all) {
    await bus.ready();
    await bus.sync();
    for (const [subject, numbers] of seen) {
      const [first] = numbers as [number];
      expect(numbers, subject).toEqual(Array.from({ length: total - first + 1 }, (_, index) => first + index));
    }
  }
});

test("more events than may wait while the newest are read are read again", { timeout: 60_000 }, async () => {
  await daemon.publish([sale("1", -1), sale("2", -1)]);
  let lists = 0;
  const more = () => daemon.publish(Array.from({ length: 600 }, (_, number) => sale("1", lists * 600 + number)));
  const { bus, errors } = open({
    fetch: delayed(() => {
      // The answer to the first one comes after more events than may wait.
      if (++lists > 1) return undefined;
      return (async () => {
        for (let count = 0; count < 2; count++) await more();
        await other.sync();
      })();
    }),
  });
  const { bus: other } = open();
  let count = 0;
  bus.on("inventory-change", () => count++);
  const last = new Map<string, number>();
  let calls = 0;
  bus.on("inventory-change", { since: "latest" }, ({ productId, newQuantity }) => {
    calls++;
    last.set(productId, newQuantity);
  });
  await bus.ready();
  await expect.poll(() => count).toBe(1_200);
  await bus.sync();
  expect([...last].sort()).toEqual([["1", 1_199], ["2", -1]]);
  expect(calls).toBeLessThan(10);
  await daemon.publish([sale("2", 1)]);
  await expect.poll(() => last.get("2")).toBe(1);
  expect(errors).toEqual([]);
});

test("while the newest cannot be read, the bus tries again, and says so once", async () => {
  await daemon.publish([sale("1", 5)]);
  let failures = 2;
  const { bus, errors } = open({ fetch: (url, init) => (url.includes("/v1/latest/") && failures-- > 0 ? Promise.reject(new TypeError("no")) : fetch(url, init as RequestInit)) });
  const seen: number[] = [];
  bus.watch("inventory-change", "1", ({ newQuantity }) => seen.push(newQuantity));
  await bus.ready();
  expect(seen).toEqual([5]);
  expect(errors).toMatchObject([{ code: "network" }]);
});

test("an aborted signal ends a watcher before it has begun, and after", async () => {
  const { bus } = open();
  const controller = new AbortController();
  const handler = vi.fn();
  await daemon.publish([sale("1", 1)]);
  bus.watch("inventory-change", "1", { signal: controller.signal }, handler);
  controller.abort();
  bus.watch("inventory-change", "1", { signal: controller.signal }, handler);
  await bus.ready();
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(0);
  expect(handler).not.toHaveBeenCalled();
});

test("a watcher looks again after a gap, and a while after its beginning", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const fake = await FakeDaemon.start();
  started.push(() => fake.stop());
  const event = (newQuantity: number) => ({ id: `i${newQuantity}`, type: "inventory-change", subject: "1", data: sale("1", newQuantity).data });
  let newest = { position: "e:1", event: event(1) };
  const asked = vi.fn();
  const { bus } = open({
    fetch: async (url) => {
      asked(url.replace(fake.url, ""));
      return new Response(JSON.stringify(newest), { headers: { "content-type": "application/json" } });
    },
  }, fake.url);
  const seen: number[] = [];
  bus.watch("inventory-change", "1", ({ newQuantity }) => seen.push(newQuantity));
  const peer = (await fake.connection()).welcome();
  await peer.confirmSubscribe("e:2");
  await bus.ready();
  expect(seen).toEqual([1]);
  // Another node has answered, which did not have it yet.
  newest = { position: "e:2", event: event(2) };
  await vi.advanceTimersByTimeAsync(2_600);
  await expect.poll(() => seen).toEqual([1, 2]);
  peer.event("inventory-change", event(3).data, "e:3");
  newest = { position: "f:9", event: event(9) };
  peer.send({ type: "gap", channel: "inventory-change", from: "e:3", position: "f:9" });
  await expect.poll(() => seen.at(-1)).toBe(9);
  expect(asked.mock.calls).toEqual(["1", "2", "3"].map(() => ["/v1/latest/inventory-change/1"]));
});

/** A watcher of a fake daemon, which has read event 1. `fails` says what the reads of the newest event are answered with: a status, or 200. */
async function watcherOfFake(status: () => number) {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const fake = await FakeDaemon.start();
  started.push(() => fake.stop());
  const event = (newQuantity: number) => ({ id: `i${newQuantity}`, type: "inventory-change", subject: "1", data: sale("1", newQuantity).data });
  const state = { newest: { position: "e:1", event: event(1) }, reads: 0, ended: vi.fn() };
  const put = (position: string, newQuantity: number) => (state.newest = { position, event: event(newQuantity) });
  const { bus, errors } = open({
    fetch: async () => {
      state.reads++;
      const answered = status();
      const headers = { "content-type": answered === 200 ? "application/json" : "application/problem+json" };
      const problem = { code: answered === 503 ? "broker-unavailable" : "latest-not-kept", title: "no", detail: "no" };
      return new Response(JSON.stringify(answered === 200 ? state.newest : problem), { status: answered, headers });
    },
  }, fake.url);
  const seen: number[] = [];
  bus.watch("inventory-change", "1", { onError: state.ended }, ({ newQuantity }) => seen.push(newQuantity));
  const peer = (await fake.connection()).welcome();
  await peer.confirmSubscribe("e:2");
  await bus.ready();
  expect(seen).toEqual([1]);
  const lose = (from: string, position: string) => peer.send({ type: "gap", channel: "inventory-change", from, position });
  return { bus, errors, seen, state, put, lose };
}

test("a watcher whose read fails after a gap tries again until it has the newest event, and says so once", async () => {
  let failures = 0;
  const { errors, seen, state, put, lose } = await watcherOfFake(() => (failures-- > 0 ? 503 : 200));
  await vi.advanceTimersByTimeAsync(2_600);
  await expect.poll(() => state.reads).toBe(2);
  failures = 3;
  put("f:9", 9);
  lose("e:2", "f:9");
  await expect.poll(() => state.reads).toBe(3);
  for (let delayMs = 500; failures >= 0; delayMs *= 2) await vi.advanceTimersByTimeAsync(delayMs);
  await expect.poll(() => seen).toEqual([1, 9]);
  expect(errors).toMatchObject([{ code: "broker-unavailable", status: 503 }]);
  expect(state.ended).not.toHaveBeenCalled();
});

test("a watcher whose second look fails tries again", async () => {
  let failures = 0;
  const { errors, seen, put } = await watcherOfFake(() => (failures-- > 0 ? 503 : 200));
  failures = 1;
  put("e:2", 2);
  await vi.advanceTimersByTimeAsync(2_600);
  await expect.poll(() => errors).toMatchObject([{ code: "broker-unavailable" }]);
  await vi.advanceTimersByTimeAsync(500);
  await expect.poll(() => seen).toEqual([1, 2]);
});

test("a watcher looks twice after a gap, since the first answer may be older than the gap", async () => {
  const { seen, state, put, lose } = await watcherOfFake(() => 200);
  await vi.advanceTimersByTimeAsync(2_600);
  await expect.poll(() => state.reads).toBe(2);
  lose("e:2", "e:8");
  await expect.poll(() => state.reads).toBe(3);
  put("e:8", 8);
  await vi.advanceTimersByTimeAsync(2_600);
  await expect.poll(() => seen).toEqual([1, 8]);
});

test("a watcher whose type keeps none any more is told so, and ends", async () => {
  let isKept = true;
  const { bus, errors, state, lose } = await watcherOfFake(() => (isKept ? 200 : 422));
  isKept = false;
  lose("e:2", "f:9");
  await expect.poll(() => state.ended.mock.calls).toMatchObject([[{ code: "latest-not-kept" }]]);
  expect(errors).toMatchObject([{ code: "latest-not-kept" }]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(state.reads).toBe(2);
  expect(bus.state.status).not.toBe("closed");
});

test("close ends a loop that has not begun yet, and a token that is refused says so", async () => {
  const { bus } = open({ fetch: () => new Promise(() => {}) });
  const loop = bus.events("stock-take", { since: "latest" }).next();
  bus.close();
  expect(await loop).toEqual({ value: undefined, done: true });
  const refused = vi.fn();
  const { bus: other, errors } = open({ token: () => undefined });
  other.watch("stock-take", "a", { onError: refused }, () => {});
  await expect.poll(() => other.state.status).toBe("closed");
  await expect.poll(() => refused.mock.calls).toMatchObject([[{ code: "unauthenticated" }]]);
  expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(["unauthenticated"]));
});
