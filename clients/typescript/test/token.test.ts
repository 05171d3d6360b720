// The token of a bus, with a fake daemon: where it is sent, when it is renewed, and which refusals end the bus.

import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";

import { type Bus, connect, type ConnectionState, type ConnectOptions, type TidingsError, type TokenResult } from "../src/index.js";
import { FakeDaemon, type Peer } from "./fake.js";

let daemon: FakeDaemon;
let bus: Bus;
let states: ConnectionState[];
let errors: TidingsError[];

beforeEach(async () => {
  daemon = await FakeDaemon.start();
});

afterEach(async () => {
  bus?.close();
  await daemon.stop();
});

/** Connects a bus with short delays, and records its states and errors. */
function open(options: ConnectOptions): Bus {
  // Most tests need no subscription, and skip minutes.
  bus = connect(daemon.url, { backoff: { minMs: 1, maxMs: 4 }, idleTimeoutMs: Infinity, ...options });
  bus.ready().catch(() => {});
  [states, errors] = [[bus.state], []];
  bus.onState((state) => states.push(state));
  bus.onError((error) => errors.push(error));
  return bus;
}

/** A function that returns these tokens in turn, then the last one for ever. */
function tokens(...texts: TokenResult[]) {
  return vi.fn(() => Promise.resolve(texts.length > 1 ? texts.shift() : texts[0]));
}

/** Accepts a connection whose first frame is this token. */
async function accept(token: string, expiresInMs?: number): Promise<Peer> {
  const peer = await daemon.connection();
  expect(await peer.receiveToken()).toBe(token);
  return peer.welcome(3_600_000, expiresInMs);
}

/** Waits until the client has read everything that was sent to it. */
async function answered(peer: Peer): Promise<void> {
  const pong = new Promise((resolve) => peer.socket.once("pong", resolve));
  peer.socket.ping();
  await pong;
}

const sale = { productId: "123", oldQuantity: 100, newQuantity: 95, reason: "sale" };
const statuses = () => states.map(({ status }) => status);

/** Answers a publication with 401, as the daemon does. */
const refuse: FakeDaemon["responses"][number] = (_body, response) => {
  const headers = { "content-type": "application/problem+json", "www-authenticate": 'Bearer error="invalid_token"' };
  response.writeHead(401, headers).end('{"status":401,"code":"unauthenticated","title":"A valid credential is required"}');
};

test("a token is the first frame of a connection, nothing follows before welcome, and no URL or header has it", async () => {
  open({ token: " t1\n" }).on("order-status", () => {});
  const peer = await daemon.connection();
  expect(await peer.receiveToken()).toBe("t1");
  await answered(peer);
  expect(bus.state.status).toBe("connecting");
  const next = peer.receive();
  peer.welcome();
  expect(await next).toMatchObject({ type: "subscribe", channel: "order-status" });
  expect(daemon.authorizations).toEqual([undefined]);
});

test("a token is the header of a publication, and a bus without a token sends none", async () => {
  await open({ token: "t1" }).publish("inventory-change", sale);
  const anonymous = connect(daemon.url);
  await anonymous.publish("inventory-change", sale);
  anonymous.close();
  expect(daemon.authorizations.filter((value) => value !== undefined)).toEqual(["Bearer t1"]);
});

test("an empty token, or one that a header cannot have, is refused at once and not repeated", async () => {
  expect(() => connect(daemon.url, { token: "" })).toThrow(new TypeError("the option token is empty: leave it out to connect without a token"));
  expect(() => connect(daemon.url, { token: " \n" })).toThrow(TypeError);
  let thrown: unknown;
  try {
    connect(daemon.url, { token: "s3cret\ns3cret" });
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(TypeError);
  expect(String(thrown)).not.toContain("s3cret");
  bus = connect(daemon.url, { token: () => "s3cret s3cret" });
  const failed: TidingsError = await bus.publish("inventory-change", sale).catch((error) => error);
  expect(failed).toMatchObject({ code: "unauthenticated" });
  expect(failed.message).not.toContain("s3cret");
  expect(daemon.published).toEqual([]);
});

test("connections and publications share a token, and reconnects do not ask for one", async () => {
  const token = tokens("t1", "t2");
  open({ token });
  (await accept("t1", 60_000)).socket.terminate();
  await accept("t1", 60_000);
  await bus.publish("inventory-change", sale);
  expect(token).toHaveBeenCalledOnce();
});

test("concurrent requests share one call of the function", async () => {
  const token = tokens("t1");
  bus = connect(daemon.url, { token });
  await Promise.all([1, 2, 3].map(() => bus.publish("inventory-change", sale)));
  expect(token).toHaveBeenCalledOnce();
  expect(daemon.authorizations).toEqual(["Bearer t1", "Bearer t1", "Bearer t1"]);
});

test("a token is renewed on the live connection before it expires, and the stream goes on", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const token = tokens("t1", "t2", "t3");
  open({ token, random: () => 0.5 });
  const peer = await accept("t1", 60_000);
  await bus.ready();
  await vi.advanceTimersByTimeAsync(50_900);
  expect(token).toHaveBeenCalledOnce();
  await vi.advanceTimersByTimeAsync(200);
  expect(await peer.receiveToken()).toBe("t2");
  peer.send({ type: "authenticated", expiresInMs: 10_000 });
  await answered(peer);
  await vi.advanceTimersByTimeAsync(8_400);
  expect(token).toHaveBeenCalledTimes(2);
  await vi.advanceTimersByTimeAsync(200);
  expect(await peer.receiveToken()).toBe("t3");
  expect(statuses()).toEqual(["connecting", "open"]);
});

test("the renewals of many clients are spread over a tenth of the token's time", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  for (const [random, atMs] of [[0, 80_000], [0.999, 89_990]] as const) {
    const token = tokens("t1", "t2");
    open({ token, random: () => random });
    const peer = await accept("t1", 100_000);
    await bus.ready();
    await vi.advanceTimersByTimeAsync(atMs - 100);
    expect(token).toHaveBeenCalledOnce();
    await vi.advanceTimersByTimeAsync(200);
    expect(await peer.receiveToken()).toBe("t2");
    bus.close();
  }
});

test("a token that is valid for months is not renewed at once, and one without an end never", async () => {
  for (const expiresInMs of [2 ** 31 * 2, undefined]) {
    const token = tokens("t1", "t2");
    open({ token });
    const peer = await accept("t1", expiresInMs);
    await bus.ready();
    await answered(peer);
    expect(token).toHaveBeenCalledOnce();
    bus.close();
  }
});

test("a function that returns ever the same token is not called in a hot loop, and an expired one ends the bus", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const token = tokens("t1");
  open({ token });
  const peer = await accept("t1", 10_000);
  await bus.ready();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(token.mock.calls.length).toBeLessThan(6);
  peer.socket.close(4005);
  const closed = new Promise<ConnectionState>((resolve) => bus.onState((state) => state.status === "closed" && resolve(state)));
  await vi.advanceTimersByTimeAsync(1_000);
  await new Promise<void>((resolve) => peer.socket.once("close", () => resolve()));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await closed).toMatchObject({ error: { code: "unauthenticated", message: expect.stringContaining("has refused") } });
});

test("a token that expires at once is renewed once a second", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  let count = 0;
  const token = vi.fn(() => `t${++count}`);
  open({ token });
  const peer = await accept("t1", 0);
  await bus.ready();
  for (const expected of ["t2", "t3"]) {
    await vi.advanceTimersByTimeAsync(999);
    expect(count).toBe(Number(expected.slice(1)) - 1);
    await vi.advanceTimersByTimeAsync(1);
    expect(await peer.receiveToken()).toBe(expected);
    peer.send({ type: "authenticated", expiresInMs: 0 });
    await answered(peer);
  }
});

test("a function that fails during a renewal is called again while the token is valid, and reported once", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const token = vi.fn<() => Promise<string>>().mockResolvedValueOnce("t1");
  token.mockRejectedValueOnce(new Error("the login server is away")).mockRejectedValueOnce(new Error("the login server is away"));
  token.mockResolvedValueOnce("t2");
  open({ token });
  const peer = await accept("t1", 60_000);
  await bus.ready();
  await vi.advanceTimersByTimeAsync(54_000);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(await peer.receiveToken()).toBe("t2");
  const failed = { code: "no-token", message: "the function of the option token failed: the login server is away" };
  expect(errors).toEqual([expect.objectContaining(failed)]);
  expect(statuses()).toEqual(["connecting", "open"]);
});

test.each([undefined, null, "", " "])("a function that returns %j ends the bus, also on a renewal: there is no fallback to anonymous", async (none) => {
  open({ token: tokens(none) });
  await expect.poll(() => bus.state.status).toBe("closed");
  expect(bus.state).toMatchObject({ error: { code: "unauthenticated" } });
  await expect(bus.publish("inventory-change", sale)).rejects.toMatchObject({ code: "unauthenticated" });

  open({ token: tokens("t1", none) });
  const peer = await accept("t1", 100);
  await expect.poll(() => bus.state.status).toBe("closed");
  expect(bus.state).toMatchObject({ error: { code: "unauthenticated" } });
  expect(await peer.closed).toBe(1000);
  const publisher = connect(daemon.url, { token: tokens(none) });
  await expect(publisher.publish("inventory-change", sale)).rejects.toMatchObject({ code: "unauthenticated" });
  publisher.close();
  expect(daemon.published).toEqual([]);
});

test("a function that fails at first is called again after a delay", async () => {
  const token = vi.fn<() => Promise<string>>().mockRejectedValueOnce(new Error("away")).mockResolvedValueOnce("t1");
  open({ token });
  await accept("t1");
  await bus.ready();
  expect(errors).toMatchObject([{ code: "no-token", cause: { message: "away" } }]);
  const publishing = vi.fn<() => Promise<string>>().mockRejectedValueOnce(new Error("away")).mockResolvedValueOnce("t2");
  const publisher = connect(daemon.url, { token: publishing, backoff: { minMs: 1, maxMs: 2 } });
  await publisher.publish("inventory-change", sale);
  publisher.close();
});

test("an expired token that the function replaces does not end the bus, and subscriptions resume", async () => {
  const seen: number[] = [];
  open({ token: tokens("t1", "t2") }).on("inventory-change", ({ newQuantity }) => seen.push(newQuantity));
  const first = await accept("t1", 3_600_000);
  await first.confirmSubscribe();
  first.event("inventory-change", sale);
  await expect.poll(() => seen).toEqual([95]);
  first.socket.close(4005, "the token has expired");
  const second = await accept("t2", 3_600_000);
  expect(await second.receiveSubscribe()).toMatchObject({ since: "e:1" });
  expect(statuses()).toEqual(["connecting", "open", "reconnecting", "open"]);
  expect(errors).toEqual([]);
});

test("tokens that the daemon ends at once are replaced with growing delays", async () => {
  let count = 0;
  open({ token: () => `t${++count}`, random: () => 1, backoff: { minMs: 1, maxMs: 1_000 } });
  for (let attempt = 1; attempt <= 5; attempt++) (await accept(`t${attempt}`, 0)).socket.close(4005);
  await accept("t6", 60_000);
  const delays = states.flatMap((state) => (state.status === "reconnecting" ? [state.delayMs] : []));
  expect(delays).toEqual([1, 2, 4, 8, 16]);
});

test("an expired fixed token ends the bus", async () => {
  open({ token: "t1" });
  (await accept("t1", 60_000)).socket.close(4005);
  await expect.poll(() => bus.state.status).toBe("closed");
  const error = { code: "unauthenticated", status: 4005, message: expect.stringContaining("pass a function") };
  expect(bus.state).toMatchObject({ error });
  await expect(bus.ready()).rejects.toMatchObject(error);
});

test.each([
  [4001, "unauthenticated"],
  [4003, "forbidden"],
  [4004, "unauthenticated"],
])("close code %i ends the bus, although a function has more tokens", async (code, reported) => {
  const token = tokens("t1", "t2");
  open({ token });
  const peer = await daemon.connection();
  expect(await peer.receiveToken()).toBe("t1");
  // The daemon refuses a first token without a welcome.
  if (code !== 4001) peer.welcome();
  peer.socket.close(code);
  await expect.poll(() => bus.state.status).toBe("closed");
  expect(bus.state).toMatchObject({ error: { code: reported, status: code } });
  expect(token).toHaveBeenCalledOnce();
});

test("a held token that the daemon refuses is replaced once: it may have expired while the machine slept", async () => {
  const token = tokens("t1", "t2", "t3");
  open({ token });
  (await accept("t1")).socket.terminate();
  const second = await daemon.connection();
  expect(await second.receiveToken()).toBe("t1");
  second.socket.close(4001);
  (await accept("t2")).socket.terminate();
  for (const text of ["t2", "t3"]) {
    const peer = await daemon.connection();
    expect(await peer.receiveToken()).toBe(text);
    peer.socket.close(4001);
  }
  await expect.poll(() => bus.state.status).toBe("closed");
  expect(bus.state).toMatchObject({ error: { code: "unauthenticated", status: 4001 } });
  expect(token).toHaveBeenCalledTimes(3);
});

test("a bus without a token learns that the daemon wants one", async () => {
  open({});
  (await daemon.connection()).socket.close(4001);
  await expect.poll(() => bus.state.status).toBe("closed");
  expect(bus.state).toMatchObject({ error: { code: "unauthenticated", message: expect.stringContaining("as the option token") } });
});

test("after a refused renewal the former token goes on, and the function is asked again later", async () => {
  const token = tokens("t1", "t2", "t3");
  open({ token });
  const peer = await accept("t1", 1_500);
  expect(await peer.receiveToken()).toBe("t2");
  peer.send({ type: "error", code: "unauthenticated", message: "not accepted" });
  expect(await peer.receiveToken()).toBe("t3");
  peer.send({ type: "authenticated" });
  expect(errors).toMatchObject([{ code: "unauthenticated", message: "not accepted" }]);
  expect(statuses()).toEqual(["connecting", "open"]);
});

test("a channel that a renewal takes away ends that subscription alone", async () => {
  const [lost, kept, seen] = [vi.fn(), vi.fn(), vi.fn()];
  open({ token: tokens("t1", "t2") }).on("order-status", { onError: lost }, () => {});
  bus.on("inventory-change", { onError: kept }, seen);
  const peer = await accept("t1", 1_000);
  const sub = await peer.confirmSubscribe();
  await peer.confirmSubscribe();
  await bus.ready();
  expect(await peer.receiveToken()).toBe("t2");
  peer.send({ type: "authenticated" });
  peer.send({ type: "unsubscribed", sub });
  peer.send({ type: "error", code: "forbidden", message: "not allowed", sub });
  peer.event("inventory-change", sale);
  await expect.poll(() => seen.mock.calls.length).toBe(1);
  expect(lost).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: "forbidden" }));
  expect(kept).not.toHaveBeenCalled();
  peer.socket.terminate();
  // The lost subscription is not requested again.
  const next = await accept("t2");
  expect(await next.receiveSubscribe()).toMatchObject({ channel: "inventory-change" });
  await answered(next);
});

test("a refused publication is repeated once with a new token, under the same id", async () => {
  const token = tokens("t1", "t2");
  bus = connect(daemon.url, { token });
  await bus.publish("inventory-change", sale);
  daemon.responses.push(refuse);
  await bus.publish("inventory-change", sale);
  expect(daemon.authorizations).toEqual(["Bearer t1", "Bearer t1", "Bearer t2"]);
  expect(daemon.published[1]).toEqual(daemon.published[2]);
});

test("a publication with a new token that is refused fails, and so does one with a fixed token or the same again", async () => {
  const unauthenticated = { code: "unauthenticated", status: 401, ids: [expect.any(String)] };
  for (const token of [tokens("t1", "t2"), "t1", undefined]) {
    daemon.responses.push(refuse);
    bus = connect(daemon.url, { token });
    await expect(bus.publish("inventory-change", sale)).rejects.toMatchObject(unauthenticated);
    bus.close();
  }
  expect(daemon.published).toHaveLength(3);
  bus = connect(daemon.url, { token: tokens("t1") });
  await bus.publish("inventory-change", sale);
  daemon.responses.push(refuse);
  await expect(bus.publish("inventory-change", sale)).rejects.toMatchObject(unauthenticated);
  expect(daemon.published).toHaveLength(5);
});

test("a publication that is not granted is forbidden", async () => {
  daemon.responses.push((_body, response) => response.writeHead(403).end('{"status":403,"code":"forbidden","title":"Not allowed"}'));
  await expect(open({ token: "t1" }).publish("inventory-change", sale)).rejects.toMatchObject({ code: "forbidden", status: 403 });
});

test("a signal and a close end a publication that waits for its token", async () => {
  const never = () => new Promise<string>(() => {});
  const stop = new AbortController();
  bus = connect(daemon.url, { token: never });
  const aborted = bus.publish("inventory-change", sale, { signal: stop.signal });
  stop.abort(new Error("enough"));
  await expect(aborted).rejects.toThrow("enough");
  const closed = bus.publish("inventory-change", sale);
  bus.close();
  await expect(closed).rejects.toMatchObject({ code: "closed" });
});

test("a bus that is closed while the function is called opens no connection", async () => {
  let resolve = (_: string) => {};
  open({ token: () => new Promise<string>((done) => (resolve = done)) });
  await expect.poll(() => bus.state.status).toBe("connecting");
  bus.close();
  resolve("t1");
  expect(statuses()).toEqual(["connecting", "closed"]);
  expect(daemon.authorizations).toEqual([]);
});
