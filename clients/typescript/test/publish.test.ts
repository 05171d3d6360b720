// Publishing to a fake daemon: which failures are retried, with which id, and which are final.

import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";

import { type Bus, connect, type TidingsError } from "../src/index.js";
import { FakeDaemon } from "./fake.js";

let daemon: FakeDaemon;
let bus: Bus;

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  bus = connect(daemon.url, { backoff: { minMs: 1, maxMs: 2 } });
});

afterEach(async () => {
  bus.close();
  await daemon.stop();
});

const sale = { productId: "123", oldQuantity: 100, newQuantity: 95, reason: "sale" };
const ids = () => daemon.published.map((body) => (body as { id: string }).id);

test("transient failures are retried with the same id", async () => {
  daemon.responses.push(
    (_body, response) => response.destroy(),
    (_body, response) => response.writeHead(503, { "retry-after": "0" }).end('{"code":"broker-unavailable"}'),
    (_body, response) => response.writeHead(429, { "retry-after": new Date(0).toUTCString() }).end(),
    (_body, response) => response.writeHead(502).end("<html>"),
    (_body, response) => response.writeHead(408).end(),
  );
  const accepted = await bus.publish("inventory-change", sale, { id: undefined as never });
  expect(accepted).toEqual({ id: expect.stringMatching(/^[0-9a-f-]{36}$/), type: "inventory-change", position: "e:1", duplicate: false, cascaded: [] });
  expect(ids()).toHaveLength(6);
  expect(new Set([...ids(), accepted.id]).size).toBe(1);
});

test("many attempts leave no listeners behind", async () => {
  const warned = vi.fn();
  process.on("warning", warned);
  for (let attempt = 0; attempt < 15; attempt++) daemon.responses.push((_body, response) => response.writeHead(503).end());
  await bus.publish("inventory-change", sale);
  process.off("warning", warned);
  expect(warned).not.toHaveBeenCalled();
});

test("an event that one node does not accept goes to the next", async () => {
  const other = await FakeDaemon.start();
  const cluster = connect(other.url, { urls: [daemon.url], backoff: { minMs: 1, maxMs: 2 } });
  try {
    other.responses.push((_body, response) => response.writeHead(503).end('{"code":"draining"}'));
    const { id } = await cluster.publish("inventory-change", sale);
    await cluster.publish("inventory-change", sale);
    expect(other.published).toMatchObject([{ id }]);
    expect(daemon.published).toMatchObject([{ id }, { data: sale }]);
  } finally {
    cluster.close();
    await other.stop();
  }
});

test("a retry waits for the Retry-After of the daemon", async () => {
  daemon.responses.push((_body, response) => response.writeHead(503, { "retry-after": "1" }).end());
  const at = performance.now();
  await bus.publish("inventory-change", sale);
  expect(performance.now() - at).toBeGreaterThan(990);
});

test.each(["99999999999", "9".repeat(400), "Fri, 31 Dec 9999 23:59:59 GMT"])("a Retry-After of %s is cut to a day", async (pause) => {
  const delays: unknown[] = [];
  const { setTimeout } = globalThis;
  const spy = vi.spyOn(globalThis, "setTimeout").mockImplementation(((run: () => void, delayMs: number) => {
    delays.push(delayMs);
    return setTimeout(run, delayMs);
  }) as typeof setTimeout);
  onTestFinished(() => void spy.mockRestore());
  const stop = new AbortController();
  daemon.responses.push(
    (_body, response) => response.writeHead(503, { "retry-after": pause }).end(),
    () => stop.abort(new Error("it was sent again at once")),
  );
  const publishing = bus.publish("inventory-change", sale, { signal: stop.signal, retryTimeoutMs: Infinity });
  void vi.waitUntil(() => delays.includes(86_400_000), 10_000).then(() => stop.abort(new Error("it waits")), () => undefined);
  await expect(publishing).rejects.toThrow("it waits");
});

test("publishing fails with the last error when the time is up", async () => {
  const draining = { code: "draining", title: "Draining" };
  daemon.responses.push((_body, response) => response.writeHead(503).end(JSON.stringify(draining)));
  await expect(bus.publish("inventory-change", sale, { retryTimeoutMs: 0 })).rejects.toMatchObject({ status: 503, message: "Draining" });
  for (let node = 0; node < 2; node++) {
    daemon.responses.push((_body, response) => response.writeHead(503, { "retry-after": "3600" }).end(JSON.stringify(draining)));
  }
  // The daemon asks for more time than there is.
  await expect(bus.publish("inventory-change", sale)).rejects.toMatchObject({ code: "draining" });
  const patient = connect(daemon.url, { retryTimeoutMs: 60_000 });
  await expect(patient.publish("inventory-change", sale)).rejects.toMatchObject({ code: "draining" });
  patient.close();
  expect(ids()).toHaveLength(3);
});

test("publishing to a daemon that is down fails at once, with the URL, the cause and what to do", async () => {
  await daemon.stop();
  // Delays of an hour: any retry would let the test time out.
  const impatient = connect(daemon.url, { backoff: { minMs: 3_600_000, maxMs: 3_600_000 }, random: () => 1 });
  const failed: TidingsError = await impatient.publish("inventory-change", sale).catch((error) => error);
  expect(failed).toMatchObject({ code: "network", cause: expect.any(TypeError), ids: [expect.any(String)] });
  expect(failed.message).toBe(
    `cannot reach the daemon at ${daemon.url}: connect ECONNREFUSED ${daemon.url.slice(7)}; check the URL, and that the daemon is running`,
  );
  impatient.close();
});

test("with retryTimeoutMs, publishing waits for a daemon that is down, and tries every node at least once", async () => {
  const { url } = daemon;
  await daemon.stop();
  const publishing = bus.publish("inventory-change", sale, { retryTimeoutMs: 60_000 });
  daemon = await FakeDaemon.start(Number(new URL(url).port));
  expect(await publishing).toMatchObject({ position: "e:1" });
  const cluster = connect("http://127.0.0.1:1", { urls: [url] });
  expect(await cluster.publish("inventory-change", sale, { retryTimeoutMs: 0 })).toMatchObject({ position: "e:1" });
  cluster.close();
});

test("a failed publication names the ids, so that it can be repeated", async () => {
  daemon.responses.push((_body, response) => response.destroy(), (_body, response) => response.destroy());
  const failed: TidingsError = await bus.publish("inventory-change", sale, { retryTimeoutMs: 0 }).catch((error) => error);
  expect(failed).toMatchObject({ code: "network", cause: expect.any(Error), ids: ids() });
  const { id } = await bus.publish("inventory-change", sale, { id: failed.ids[0]! });
  expect(new Set([...ids(), id]).size).toBe(1);
  const draft = { type: "inventory-change", data: sale } as const;
  daemon.responses.push((_body, response) => (response.destroy(), bus.close()));
  const closed: TidingsError = await bus.publishAll([{ ...draft, id: "mine" }, draft]).catch((error) => error);
  expect(closed).toMatchObject({ code: "closed", ids: ["mine", expect.stringMatching(/^[0-9a-f-]{36}$/)] });
});

test("a refused event is not retried, and the error lists the mistakes", async () => {
  const errors = [{ pointer: "/data/productId", message: "is missing" }];
  const headers = { "content-type": "application/problem+json", "x-request-id": "r1" };
  const problem = { title: "Invalid event", detail: "1 mistake", status: 422, code: "invalid-event", errors };
  daemon.responses.push((_body, response) => response.writeHead(422, headers).end(JSON.stringify(problem)));
  await expect(bus.publish("inventory-change", sale)).rejects.toMatchObject({
    name: "TidingsError", code: "invalid-event", message: "1 mistake", status: 422, errors, requestId: "r1",
  });
  expect(ids()).toHaveLength(1);
});

test.each([[200, "{}"], [202, "hello"], [202, '{"accepted":7}'], [404, "<html>"]])(
  "%i with %s is not a response of a daemon",
  async (status, text) => {
    daemon.responses.push((_body, response) => response.writeHead(status).end(text));
    await expect(bus.publish("inventory-change", sale)).rejects.toMatchObject({ code: "unexpected-response", status });
  },
);

test("an event is sent with all its attributes", async () => {
  const time = new Date(0);
  await bus.publish("inventory-change", sale, {
    id: "i", source: "/shop", subject: "s", time, causationid: "c", extensions: { count: 7 }, retryTimeoutMs: 0,
  });
  expect(daemon.published).toEqual([{
    id: "i", source: "/shop", subject: "s", time: "1970-01-01T00:00:00.000Z", causationid: "c", count: 7,
    type: "inventory-change", data: sale,
  }]);
});

test("what is undefined is left out, at every depth and in options", async () => {
  const maybe: string | undefined = undefined;
  const other = connect(daemon.url, { backoff: { minMs: maybe, maxMs: maybe }, urls: maybe, fetch: maybe, random: maybe });
  await other.publish("inventory-change", { ...sale, variantId: maybe }, { id: "i", subject: maybe, extensions: { shop: maybe } });
  const tree = connect<{ tree: { a?: { b?: string | undefined; c: number }[] | undefined } }>(daemon.url);
  await tree.publish("tree", { a: [{ b: maybe, c: 1 }] }, { id: "t", retryTimeoutMs: maybe, signal: maybe });
  expect(daemon.published).toStrictEqual([
    { id: "i", type: "inventory-change", data: sale },
    { id: "t", type: "tree", data: { a: [{ c: 1 }] } },
  ]);
  other.close();
  tree.close();
});

test("several events are one request, and each keeps its id over retries", async () => {
  daemon.responses.push((_body, response) => response.destroy());
  const accepted = await bus.publishAll([
    { type: "inventory-change", data: sale },
    { type: "order-status", data: { orderId: "1", newStatus: "shipped" }, id: "mine" },
  ]);
  expect(accepted.map(({ type }) => type)).toEqual(["inventory-change", "order-status"]);
  expect(accepted[1]?.id).toBe("mine");
  expect(daemon.published).toHaveLength(2);
  expect(daemon.published[0]).toEqual(daemon.published[1]);
});

test("a signal ends publishing, while it waits and while it sends", async () => {
  const whileWaiting = new AbortController();
  daemon.responses.push((_body, response) => {
    response.writeHead(503, { "retry-after": "3600" }).end();
    whileWaiting.abort(new Error("enough"));
  });
  await expect(bus.publish("inventory-change", sale, { signal: whileWaiting.signal })).rejects.toThrow("enough");
  const whileSending = new AbortController();
  daemon.responses.push(() => whileSending.abort(new Error("too much")));
  await expect(bus.publish("inventory-change", sale, { signal: whileSending.signal })).rejects.toThrow("too much");
  await expect(bus.publish("inventory-change", sale, { signal: whileSending.signal })).rejects.toThrow("too much");
  expect(daemon.published).toHaveLength(2);
});

test("closing the bus ends publishing", async () => {
  daemon.responses.push((_body, response) => {
    response.writeHead(503, { "retry-after": "3600" }).end();
    bus.close();
  });
  await expect(bus.publish("inventory-change", sale)).rejects.toMatchObject({ code: "closed" });
});

test.each(["", "/", "/v1/ws", "/v1/events"])("the daemon's address may end with %j", async (path) => {
  const other = connect(daemon.url.replace("http", "ws") + path);
  expect(await other.publish("inventory-change", sale)).toMatchObject({ position: "e:1" });
  other.close();
});

test("an invalid URL is refused at once", () => {
  const url = (url: string) => () => connect(url);
  expect(url("127.0.0.1:7400")).toThrow(new TypeError(
    '"127.0.0.1:7400" is not the URL of a daemon: write it as http://127.0.0.1:7400, or with https:, ws: or wss:',
  ));
  for (const wrong of ["localhost:7400", "redis://127.0.0.1", "", "user:secret@host"]) expect(url(wrong), wrong).toThrow(TypeError);
  expect(url("user:secret@host")).not.toThrow("secret");
  expect(() => connect("redis://user:secret@host")).not.toThrow("secret");
});
