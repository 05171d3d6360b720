// A daemon that cannot be reached: what the state, `onError` and the console say, and how often. And when there is a connection.

import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { afterEach, beforeEach, expect, type MockInstance, onTestFinished, test, vi } from "vitest";

import { type Bus, connect, type ConnectOptions, type TidingsError } from "../src/index.js";
import { FakeDaemon } from "./fake.js";

let bus: Bus;
let log: MockInstance<typeof console.error>;

beforeEach(() => {
  log = vi.spyOn(console, "error").mockReturnValue();
});

afterEach(() => {
  bus.close();
  log.mockRestore();
});

/** A bus with a subscription, which tries again after a millisecond. */
function subscribed(url: string, options: ConnectOptions = {}): Bus {
  bus = connect(url, { backoff: { minMs: 1, maxMs: 1 }, ...options });
  bus.on("order-status", () => {});
  return bus;
}

/** A web server that is no daemon, and refuses WebSockets with the same status. Stops with the test. */
async function website(respond: (response: ServerResponse) => void, port = 0): Promise<{ url: string; server: Server }> {
  const server = createServer((_request, response) => respond(response));
  server.on("upgrade", (_request, socket) => socket.on("error", () => {}).end("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"));
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

/** The address of a port on which nothing listens. */
async function unused(): Promise<string> {
  const { url, server } = await website(() => {});
  await new Promise((resolve) => server.close(resolve));
  return url;
}

/** Waits until the bus has failed to connect so many times. */
async function attempts(count: number): Promise<void> {
  await expect.poll(() => (bus.state.status === "reconnecting" ? bus.state.attempt : 0)).toBeGreaterThanOrEqual(count);
}

const lines = () => log.mock.calls.map((args) => args.join(" "));
const notFound = (response: ServerResponse) => response.writeHead(404).end("<html>");
const page = (response: ServerResponse) => response.writeHead(200).end("<html>");
const overloaded = (response: ServerResponse) =>
  response.writeHead(503).end('{"code":"overloaded","detail":"too many connections at once"}');
const isDaemon = (response: ServerResponse) => response.writeHead(426).end('{"code":"upgrade-required"}');

test.each([
  ["nothing listens", undefined, "network", /^tidings: cannot reach the daemon at @: connect ECONNREFUSED 127\.0\.0\.1:\d+; check the URL, and that/],
  ["a website without the route", notFound, "unexpected-response", /^tidings: @\/v1\/ws answered with status 404; this is not the response of a tidings/],
  ["another website", page, "unexpected-response", /^tidings: @\/v1\/ws answered with status 200; this is not the response of a tidings/],
  ["a daemon with too much to do", overloaded, "overloaded", /^tidings: too many connections at once \(overloaded\)/],
  ["a proxy that passes on no upgrade", isDaemon, "network", /^tidings: the server at @ responds, but the client cannot open a WebSocket there: .*404; .*Upgrade/],
])("the console says once what is wrong: %s", async (_name, respond, code, line) => {
  const url = respond ? (await website(respond)).url : await unused();
  const expected = new RegExp(line.source.replaceAll("@", url));
  subscribed(url);
  await expect.poll(lines).toEqual([expect.stringMatching(expected)]);
  expect(lines()[0]).toMatch(/Trying again until the bus is closed\.$/);
  expect(bus.state).toMatchObject({ status: "reconnecting", error: { name: "TidingsError", code } });
  await attempts(20);
  expect(lines()).toHaveLength(1);
});

test("a URL with https for a server without TLS is named as such", async () => {
  const { url } = await website(notFound);
  subscribed(url.replace("http", "https"));
  await expect.poll(lines).toEqual([expect.stringMatching(/cannot reach the daemon at https:.*: wrong version number;.*check whether the URL must begin with http:/)]);
  const failed: TidingsError = await bus.publish("order-status", { orderId: "1", newStatus: "shipped" }).catch((error) => error);
  expect(failed).toMatchObject({ code: "network", message: expect.stringContaining("must begin with http:") });
});

test("a new reason is a new line, and so is a new outage", async () => {
  const url = await unused();
  const port = Number(new URL(url).port);
  subscribed(url);
  await expect.poll(lines).toEqual([expect.stringContaining("ECONNREFUSED")]);
  const { server } = await website(notFound, port);
  await expect.poll(lines).toEqual([expect.anything(), expect.stringContaining("status 404")]);
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));

  const daemon = await FakeDaemon.start(port);
  onTestFinished(() => daemon.stop());
  (await daemon.connection()).welcome();
  await expect.poll(() => bus.state.status).toBe("open");
  await daemon.stop();
  await expect.poll(lines).toEqual([expect.anything(), expect.anything(), expect.stringContaining("ECONNREFUSED")]);
});

test("onError receives the reason instead of the console, once", async () => {
  const errors: TidingsError[] = [];
  subscribed(await unused()).onError((error) => errors.push(error));
  await attempts(20);
  expect(errors).toMatchObject([{ code: "network", message: expect.stringContaining("ECONNREFUSED"), cause: expect.any(Error) }]);
  expect(lines()).toEqual([]);
});

test("a program that closes the bus at the first failure gets no line that says otherwise", async () => {
  for (const url of [await unused(), (await website(notFound)).url]) {
    subscribed(url).onState((state) => state.status === "reconnecting" && state.error && bus.close());
    await expect.poll(() => bus.state.status).toBe("closed");
  }
  expect(lines()).toEqual([]);
});

test("a WebSocket that fails without a close event is replaced, as that of Node 22", async () => {
  const WebSocket = class extends EventTarget {
    constructor() {
      super();
      queueMicrotask(() => this.dispatchEvent(Object.assign(new Event("error"), { message: "Received network error" })));
    }
    send(): void {}
    close(): void {
      this.dispatchEvent(new Event("error"));
    }
  };
  subscribed(await unused(), { WebSocket, transports: ["websocket"] });
  await attempts(20);
  expect(bus.state).toMatchObject({ reason: "Received network error", error: { code: "network" } });
  expect(lines()).toEqual([expect.stringContaining("ECONNREFUSED")]);
});

test("ready waits for the daemon until its signal is aborted", async () => {
  subscribed(await unused());
  const waiting = new AbortController();
  const ready = bus.ready({ signal: waiting.signal });
  await attempts(3);
  waiting.abort(new Error("enough"));
  await expect(ready).rejects.toThrow("enough");
  await expect(bus.ready({ signal: waiting.signal })).rejects.toThrow("enough");
});

test("connect and publish open no WebSocket, the first subscription opens one", async () => {
  const daemon = await FakeDaemon.start();
  onTestFinished(() => daemon.stop());
  const opened = vi.fn();
  const WebSocket = class {
    constructor(url: string) {
      opened(url);
    }
    addEventListener(): void {}
    send(): void {}
    close(): void {}
  };
  bus = connect(daemon.url, { WebSocket });
  expect(bus.state).toEqual({ status: "idle" });
  await bus.publish("order-status", { orderId: "1", newStatus: "shipped" });
  expect(() => bus.on("order-status", { where: { orderId: undefined as never } }, () => {})).toThrow("undefined");
  const aborted = bus.events("order-status", { signal: AbortSignal.abort(new Error("before")) });
  await expect(aborted.next()).rejects.toThrow("before");
  expect([opened.mock.calls.length, bus.state.status]).toEqual([0, "idle"]);
  bus.on("order-status", () => {});
  expect(bus.state.status).toBe("connecting");
  bus.on("inventory-change", () => {});
  await expect.poll(() => opened.mock.calls).toEqual([[`${daemon.url.replace("http", "ws")}/v1/ws`]]);
});
