// What a sink writes to Cloudflare KV is what the example Worker answers: the real binary, miniflare's KV, real Redis where
// two nodes are needed.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import readline from "node:readline";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { start as startFront } from "./front.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PROGRAM = process.env.TIDINGS_BIN ?? here("../../target/debug/tidings");
const EXAMPLE = readFileSync(here("../../examples/cloudflare-kv/tidings.toml"), "utf8");
const id = (name) => EXAMPLE.match(new RegExp(`^${name} = "([0-9a-f]+)"`, "m"))[1];
const TOKEN = "a-secret-token";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, check) {
  const end = Date.now() + 60_000;
  for (;;) {
    const found = await check();
    if (found) return found;
    assert.ok(Date.now() < end, `${what} does not come`);
    await pause(20);
  }
}

/** A daemon with the example's sink, whose store is this front. */
async function daemon(context, front, flags = [], channels = undefined) {
  const folder = mkdtempSync(join(tmpdir(), "tidings-sink-"));
  const table = channels ? EXAMPLE.replace(/^channels = .*$/m, `channels = ${JSON.stringify(channels)}`) : EXAMPLE;
  writeFileSync(join(folder, "tidings.toml"), `${table}\napi = "${front.url}"\n`);
  writeFileSync(join(folder, "cloudflare.token"), `${TOKEN}\n`, { mode: 0o600 });
  const child = spawn(PROGRAM, ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", ...flags], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const log = [];
  const url = await new Promise((resolve, reject) => {
    ended.then((code) => reject(new Error(`the daemon ended with ${code}:\n${log.join("\n")}`)));
    readline.createInterface({ input: child.stderr }).on("line", (line) => {
      log.push(line);
      if (line.includes('"listening"')) resolve(JSON.parse(line).url);
    });
  });
  const stop = async (signal = "SIGTERM") => {
    child.kill(signal);
    await ended;
  };
  context.after(async () => {
    await stop("SIGKILL");
    rmSync(folder, { recursive: true });
  });
  await until("the daemon", async () => (await fetch(`${url}/readyz`).catch(() => ({}))).ok);
  return { url, stop, log };
}

async function front(context) {
  const started = await startFront(TOKEN, id("account"), id("namespace"));
  context.after(started.stop);
  return started;
}

async function publish(url, events) {
  const answer = await fetch(`${url}/v1/events`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(events) });
  assert.equal(answer.status, 202, await answer.clone().text());
  return (await answer.json()).accepted;
}

const sale = (productId, newQuantity) => ({ type: "inventory-change", data: { productId, oldQuantity: 0, newQuantity, reason: "sale" } });

async function metric(url, name) {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(text.match(new RegExp(`^${name}\\{[^}]*\\} (\\S+)`, "m"))?.[1] ?? NaN);
}

test("the Worker answers what the sink wrote, and says how old it is", async (context) => {
  const store = await front(context);
  const { url } = await daemon(context, store);
  const before = Date.now();
  const accepted = await publish(url, [sale("p1", 1), sale("p2", 7), sale("p1", 2), { type: "data-update", data: { resource: "a", id: "1", action: "update" } }]);
  const ask = (path) => store.miniflare.dispatchFetch(`http://worker${path}`);
  const answer = await until("the value", async () => {
    const answer = await ask("/inventory-change/p1");
    return answer.ok && answer;
  });
  const body = await answer.json();
  assert.equal(body.position, accepted[2].position);
  assert.equal(body.event.id, accepted[2].id);
  assert.deepEqual(body.event.data, sale("p1", 2).data);
  assert.ok(body.ageMs >= 0 && body.ageMs <= Date.now() - before, `${body.ageMs}`);
  assert.equal(answer.headers.get("etag"), `"${body.position}"`);
  assert.equal((await (await ask("/inventory-change/p2")).json()).event.data.newQuantity, 7);
  assert.equal((await ask("/data-update/1")).status, 404, "a channel that the sink does not have");
  assert.equal((await ask("/inventory-change/p3")).status, 404);
  assert.equal((await ask("/inventory-change/%E0%A4%A")).status, 404, "no percent-encoding of UTF-8");
  assert.equal(store.writes.length, 2, "one write of each key");
  assert.equal(await metric(url, "tidings_sink_written_total"), 2);
});

test("a key is written at most once a second, with the newest event last", async (context) => {
  const store = await front(context);
  const { url } = await daemon(context, store);
  const end = Date.now() + 4_000;
  let last = 0;
  while (Date.now() < end) {
    last += 1;
    await publish(url, [sale("hot", last)]);
  }
  const newest = () => JSON.parse(store.writes.at(-1)?.value ?? "{}").event?.data.newQuantity;
  await until("the newest value", () => newest() === last);
  const times = store.writes.map(({ at }) => at);
  const shortest = Math.min(...times.slice(1).map((at, index) => at - times[index]));
  assert.ok(store.writes.length >= 3 && shortest >= 1_000, `${times}`);
});

test("an event of a quiet channel does not wait for the backlog of a busy one", async (context) => {
  const store = await front(context);
  // The store fails until the backlog is there.
  store.failures.push(...Array(60).fill(500));
  const { url } = await daemon(context, store, [], ["cache-invalidate", "inventory-change"]);
  await publish(url, [sale("first", 1)]);
  await until("a write", () => store.failures.length < 60);
  // More than the sink writes at once.
  const keys = Array.from({ length: 200 }, (_, index) => `${index}`.padEnd(250, "x"));
  const busy = (number) => ({ type: "cache-invalidate", subject: `${number}`, data: { keys } });
  for (let number = 0; number < 300; number += 10) {
    await publish(url, Array.from({ length: 10 }, (_, index) => busy(number + index)));
  }
  await publish(url, [sale("quiet", 1)]);
  store.failures.length = 0;
  // The first event, the quiet one, and the backlog.
  await until("all", () => store.writes.length >= 302);
  const [quiet, backlog] = ["inventory-change/quiet", "cache-invalidate/"].map((name) => store.writes.find(({ key }) => key.startsWith(name)).at);
  assert.equal(quiet, backlog, "the quiet one is in the first write of the backlog");
});

test("a store that fails gets everything later", async (context) => {
  const store = await front(context);
  store.failures.push(500, 429);
  const { url, log } = await daemon(context, store);
  await publish(url, [sale("p1", 1)]);
  await until("the value", () => store.kv.get("inventory-change/p1"));
  assert.equal(await metric(url, "tidings_sink_failures_total"), 2);
  // A value that is refused for good does not hold up the others.
  await publish(url, [sale("x".repeat(256), 1), { ...sale("p2", 2) }, { ...sale("p3", 3), subject: "y".repeat(600) }]);
  await until("the others", async () => (await store.kv.get("inventory-change/p2")) && (await metric(url, "tidings_flow_dead_total")) === 1);
  const refused = log.map((line) => JSON.parse(line)).find(({ message }) => message === "a value was refused for good");
  assert.match(refused.key, /^inventory-change\/y{50,}…$/);
  await until("the long one", () => store.kv.get(`inventory-change/${"x".repeat(256)}`));
});

test("a refusal that is not about a value is no dead letter", async (context) => {
  const store = await front(context);
  // Cloudflare's codes for a malformed header, and for an account that does not exist.
  store.failures.push({ status: 400, code: 6003 }, { status: 400, code: 7003 });
  const { url } = await daemon(context, store);
  await publish(url, [sale("p1", 1), sale("p2", 2)]);
  await until("the values", async () => (await store.kv.get("inventory-change/p1")) && store.kv.get("inventory-change/p2"));
  assert.equal(await metric(url, "tidings_flow_dead_total"), 0);
  assert.equal(await metric(url, "tidings_sink_failures_total"), 2);
});

test("an answer with 200 that does not say success is a failure, and nothing is lost", async (context) => {
  const store = await front(context);
  const failed = JSON.stringify({ success: false, errors: [{ code: 10013, message: "an unknown error" }], messages: [], result: null });
  store.failures.push({ status: 200, text: failed }, { status: 200, text: "<html>Welcome</html>" }, { status: 200, text: "" });
  const { url, log } = await daemon(context, store);
  await publish(url, [sale("p1", 1)]);
  await until("the value", () => store.kv.get("inventory-change/p1"));
  await until("the count", async () => (await metric(url, "tidings_sink_written_total")) === 1);
  assert.equal(await metric(url, "tidings_sink_failures_total"), 3);
  assert.match(log.join("\n"), /the store answered 200, but not .*success.*: an unknown error/);
  assert.match(log.join("\n"), /the store answered 200, but not with JSON/);
});

test("a value that the store leaves out is written later, and counts as a failure", async (context) => {
  const store = await front(context);
  Object.assign(store.leftOut, { key: "inventory-change/p1", times: 2 });
  const { url, log } = await daemon(context, store);
  await publish(url, [sale("p1", 1), sale("p2", 2)]);
  await until("the values", async () => (await store.kv.get("inventory-change/p1")) && store.kv.get("inventory-change/p2"));
  await until("the count", async () => (await metric(url, "tidings_sink_written_total")) === 2);
  assert.equal(await metric(url, "tidings_sink_failures_total"), 2);
  assert.match(log.join("\n"), /the store has left out 1 of [12] values/);
});

test("the log says why a store cannot be reached", async (context) => {
  const store = await front(context);
  const { url, log } = await daemon(context, { ...store, url: "http://127.0.0.1:1" });
  await publish(url, [sale("p1", 1)]);
  await until("the reason", () => log.some((line) => /no connection: .*refused/i.test(line)));
});

test("another node goes on from the kept position, and nothing is lost", async (context) => {
  const redis = await redisServer(context);
  const store = await front(context);
  const flags = ["--broker", redis];
  const first = await daemon(context, store, flags);
  const second = await daemon(context, store, flags);
  const count = 200;
  for (let number = 0; number < count; number += 1) {
    const node = number < count / 2 ? first : second;
    await publish(node.url, [sale(`p${number}`, number)]);
    if (number === count / 2 - 1) await first.stop("SIGKILL");
  }
  await until("all keys", () => new Set(store.writes.map(({ key }) => key)).size === count);
  for (let number = 0; number < count; number += 1) {
    const { event } = JSON.parse(await store.kv.get(`inventory-change/p${number}`));
    assert.equal(event.data.newQuantity, number);
  }
});

async function redisServer(context) {
  const port = await new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
  const child = spawn("redis-server", ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], { stdio: "ignore" });
  context.after(() => child.kill("SIGKILL"));
  await until("Redis", () => new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => resolve(socket.destroy() && true)).on("error", () => resolve(false));
  }));
  return `redis://127.0.0.1:${port}`;
}
