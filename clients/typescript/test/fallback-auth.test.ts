// The token of a bus that gets no WebSocket: where it is sent, when it is renewed, and how it ends.

import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";

import { type Bus, connect, type ConnectionState, type ConnectOptions, type TidingsError, type Transport } from "../src/index.js";
import { Authority } from "./authority.js";
import { Middlebox } from "./middlebox.js";

let authority: Authority;

beforeAll(async () => {
  authority = await Authority.start();
});

afterAll(async () => {
  await authority?.stop();
});

const order = (orderId: string, customerId = "u42") => ({ type: "order-status", data: { orderId, newStatus: "shipped", customerId } });
const WITHOUT: [Transport][] = [["sse"], ["long-poll"]];

async function open(options: ConnectOptions) {
  const box = await Middlebox.before(authority.daemon.port);
  const bus: Bus = connect(box.url, { backoff: { minMs: 1, maxMs: 20 }, ...options });
  onTestFinished(() => (bus.close(), box.stop()));
  const [states, errors, orders]: [string[], TidingsError[], string[]] = [[], [], []];
  bus.onState(({ status }: ConnectionState) => states.push(status));
  bus.onError((error) => errors.push(error));
  bus.on("order-status", ({ orderId }) => orders.push(orderId));
  return { box, bus, states, errors, orders };
}

const closing = (bus: Bus) => (bus.state.status === "closed" ? [bus.state.error?.code, bus.state.error?.status] : []);

test.each(WITHOUT)("over %s, the token is in a header and never in a URL, is renewed before it ends, and the stream goes on", async (transport) => {
  const token = vi.fn(() => authority.token("u42", "order-status:customerId=u42", "5s"));
  const { box, bus, states, errors, orders } = await open({ token, transports: [transport] });
  await bus.ready();
  await authority.publish(order("1", "u43"), order("2"));
  await expect.poll(() => orders).toEqual(["2"]);
  // Each is good for five seconds.
  await expect.poll(() => new Set(box.seen.map(({ authorization }) => authorization)).size).toBeGreaterThanOrEqual(3);
  await authority.publish(order("3", "u43"), order("4"));
  await expect.poll(() => orders).toEqual(["2", "4"]);
  expect([states, errors]).toEqual([["connecting", "open"], []]);
  for (const { url, authorization } of box.seen) {
    expect(authorization).toMatch(/^Bearer ey/);
    expect(url).not.toContain(authorization!.slice(10, 40));
  }
});

test.each(WITHOUT)("over %s, an expired fixed token ends the bus, which does not loop", async (transport) => {
  const { box, bus, orders } = await open({ token: await authority.token("u42", "order-status", "2s"), transports: [transport] });
  await bus.ready();
  await authority.publish(order("1"));
  await expect.poll(() => orders).toEqual(["1"]);
  await expect.poll(() => bus.state.status).toBe("closed");
  expect(closing(bus)[0]).toBe("unauthenticated");
  const requests = box.requests.length;
  await authority.publish(order("2"));
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect([box.requests.length, orders]).toEqual([requests, ["1"]]);
});

test("over an event stream, a revocation ends the bus with its code", async () => {
  const token = () => authority.token("revoked", "order-status", "1h");
  const { bus, orders } = await open({ token, transports: ["sse"] });
  await bus.ready();
  // The stream is open: `ready` only says that the subscription has a position.
  await authority.publish(order("1"));
  await expect.poll(() => orders).toEqual(["1"]);
  await authority.revoke("revoked");
  await expect.poll(() => closing(bus)).toEqual(["unauthenticated", 4004]);
});

test("a revocation before the event stream is open ends the bus, which does not loop", async () => {
  const token = await authority.token("early", "order-status", "1h");
  const { box, bus } = await open({ token: () => token, transports: ["sse"] });
  let passOn = () => {};
  box.streamsAfter = new Promise((resolve) => (passOn = resolve));
  await bus.ready();
  await expect.poll(() => box.count("GET /v1/stream")).toBe(1);
  await authority.revoke("early");
  passOn();
  // A 401 does not say why: no stream was there to close with 4004.
  await expect.poll(() => bus.state.status).toBe("closed");
  expect(closing(bus)[0]).toBe("unauthenticated");
  expect(box.count("GET /v1/stream")).toBe(1);
});

test.each(WITHOUT)("over %s, a token that is not accepted ends the bus, and a channel that is not granted ends its subscription alone", async (transport) => {
  const refused = await open({ token: "not-a-token", transports: [transport] });
  await expect.poll(() => closing(refused.bus)).toEqual(["unauthenticated", 4001]);
  expect(refused.box.requests).toEqual(["HEAD /v1/schemas", "GET /v1/schemas"]);

  const { bus, errors, orders } = await open({ token: await authority.token("u42", "order-status", "1h"), transports: [transport] });
  const forbidden = vi.fn();
  bus.on("finance-change", { onError: forbidden }, () => {});
  await bus.ready();
  expect([forbidden.mock.calls[0]?.[0].code, errors.map(({ code }) => code)]).toEqual(["forbidden", ["forbidden"]]);
  await authority.publish(order("1"));
  await expect.poll(() => orders).toEqual(["1"]);
});

test("over an event stream, a renewal that takes a channel away ends that subscription alone", async () => {
  const tokens = [await authority.token("u42", "order-status,inventory-change", "3s"), await authority.token("u42", "order-status", "1h")];
  const { bus, errors, orders } = await open({ token: () => Promise.resolve(tokens.length > 1 ? tokens.shift()! : tokens[0]!), transports: ["sse"] });
  const ended = vi.fn();
  bus.on("inventory-change", { onError: ended }, () => {});
  await bus.ready();
  await expect.poll(() => ended.mock.calls[0]?.[0].code).toBe("forbidden");
  await authority.publish(order("1"));
  await expect.poll(() => orders).toEqual(["1"]);
  expect(errors.map(({ code }) => code)).toEqual(["forbidden"]);
});
