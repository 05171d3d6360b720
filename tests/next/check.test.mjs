// The adapter for Next.js, as an application uses it: built once, run twice, with one daemon.
//
// Each instance has a copy of what was built: the caches of Next.js on disk are not shared. Each kind of cache is invalidated at
// one instance in each way that Next.js has, and from outside. Both instances must show the new version, and the daemon must have
// taken one event. The control does the same without the adapter.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { WebSocket } from "ws";

import { connect } from "../../clients/typescript/dist/index.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const BINARY = process.env.TIDINGS_BIN ?? `${here}../../target/debug/tidings`;
const NEXT = createRequire(import.meta.url).resolve("next/dist/bin/next");
/** How long an instance may take to start, or to show a new version, in milliseconds. Only for when it never does. */
const LIMIT_MS = 60_000;
/** How long the control is watched, in milliseconds: far more than the bound of the adapter, which is 2 s. */
const WATCHED_MS = 20_000;

/** The kinds of caches, and where the application shows them. */
const PATHS = {
  "use-cache": "/use-cache",
  page: "/page",
  "dynamic-page": "/dynamic-page/7",
  fetch: "/fetch",
  "unstable-cache": "/unstable-cache",
};
const KINDS = Object.keys(PATHS);
const WAYS = {
  'revalidateTag(tag, "max")': ({ url }, kind) => post(`${url}/revalidate`, { tag: kind, profile: "max" }),
  "revalidateTag(tag, { expire: 0 })": ({ url }, kind) => post(`${url}/revalidate`, { tag: kind, profile: { expire: 0 } }),
  "updateTag(tag)": ({ url }, kind) => act(`${url}/action`, { tag: kind }),
  "revalidatePath(path)": ({ url }, kind) => post(`${url}/revalidate`, { path: PATHS[kind] }),
  "an event from outside": (_, kind) => bus.publish("cache-invalidate", { tags: [kind] }),
};

const versions = Object.fromEntries(KINDS.map((kind) => [kind, 1]));
const running = [];
/** What is printed, and kept in output.txt. */
const printed = [];
let truthUrl;
let daemon;
let bus;
/** By kind: how often the data was asked for, and how many events have named it. */
const asked = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
const invalidations = {};

before(async () => {
  truthUrl = await serveTruth();
  daemon = await startDaemon();
  bus = connect(daemon.url, { WebSocket });
  bus.on("cache-invalidate", ({ tags }) => {
    for (const kind of KINDS) if (tags.some((tag) => tag === kind || tag.startsWith(`_N_T_/${kind}`))) invalidations[kind]++;
  });
  await bus.ready();
});

after(async () => {
  bus?.close();
  for (const end of running.reverse()) await end();
  if (process.env.TIDINGS_WRITE_DOCS) await writeFile(`${here}output.txt`, printed.join("\n").trimStart() + "\n");
});

test("next build opens no connection", async () => {
  const dialled = [];
  const server = createServer((request) => dialled.push(request.url));
  server.on("upgrade", (request, socket) => (dialled.push(request.url), socket.destroy()));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  await build(".next/adapter", { TIDINGS_URL: `http://127.0.0.1:${server.address().port}` });
  server.close();
  assert.deepEqual(dialled, []);
});

test("every way of invalidating at one instance reaches both, as one event", async () => {
  const [a, b] = await Promise.all(["a", "b"].map((name) => startInstance("adapter", name, { TIDINGS_URL: daemon.url })));
  const rows = await invalidateAll(a, b, LIMIT_MS);
  print("with tidings-client/next", rows);
  // Each instance has one connection, whatever loads the handler. The third one is that of this test.
  assert.equal(await subscribers("cache-invalidate"), 3);
  for (const row of rows) assert.deepEqual([row.a, row.b, row.events], ["new", "new", 1], `${row.kind}, ${row.way}`);
});

test("without the adapter, the other instance stays stale", async () => {
  await build(".next/control", {});
  const [a, b] = await Promise.all(["a", "b"].map((name) => startInstance("control", name, {})));
  const rows = await invalidateAll(a, b, WATCHED_MS);
  print("without it", rows);
  for (const { kind, way, b } of rows) assert.equal(b, "stale", `${kind}, ${way}`);
});

/** Invalidates each kind in each way, and looks at what both instances show. */
async function invalidateAll(a, b, limitMs) {
  const rows = [];
  for (const [way, invalidate] of Object.entries(WAYS)) {
    rows.push(...(await Promise.all(KINDS.map(async (kind) => {
      await Promise.all([a, b].map((instance) => isCached(instance, kind)));
      const version = ++versions[kind];
      invalidations[kind] = 0;
      await invalidate(a, kind);
      const [atA, atB] = await Promise.all([a, b].map((instance) => shows(instance, kind, version, limitMs)));
      await bus.sync();
      return { kind, way, a: atA, b: atB, events: invalidations[kind] };
    }))));
  }
  return rows;
}

/** Waits until an instance answers without asking for the data. */
async function isCached(instance, kind) {
  const isCached = await until(async () => {
    const before = asked[kind];
    await read(instance, kind);
    return asked[kind] === before;
  });
  assert.ok(isCached, `${instance.url} does not cache ${kind}`);
}

/** Whether an instance shows a version within the limit. */
async function shows(instance, kind, version, limitMs) {
  const isShown = await until(async () => (await read(instance, kind)) === version, limitMs);
  return isShown ? "new" : "stale";
}

/** The version that an instance shows. */
async function read({ url }, kind) {
  const text = await (await fetch(`${url}${PATHS[kind]}`)).text();
  const version = /version=(\d+)/.exec(text)?.[1];
  if (version === undefined) throw new Error(`no version at ${url}${PATHS[kind]}: ${text}`);
  return Number(version);
}

async function post(url, body) {
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.equal(response.status, 200, await response.text());
}

/** Submits the form of a page, as a browser without scripts does. */
async function act(url, fields) {
  const page = await (await fetch(url)).text();
  const form = new FormData();
  form.set(/name="(\$ACTION_ID_\w+)"/.exec(page)[1], "");
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  const response = await fetch(url, { method: "POST", body: form });
  assert.equal(response.status, 200, await response.text());
}

/** Waits until `check` holds. Resolves with whether it did within the limit. */
async function until(check, limitMs = LIMIT_MS) {
  for (const end = Date.now() + limitMs; Date.now() < end; ) {
    if (await check()) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return false;
}

/** Starts the server of the data. Resolves with its URL. */
async function serveTruth() {
  const server = createServer((request, response) => {
    const kind = request.url.slice(1);
    asked[kind]++;
    response.end(String(versions[kind]));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  running.push(() => (server.closeAllConnections(), server.close()));
  return `http://127.0.0.1:${server.address().port}`;
}

async function startDaemon() {
  const { output, wait } = start(BINARY, ["serve", "--listen", "127.0.0.1:0"], process.env);
  const url = await wait(/http:\/\/127\.0\.0\.1:[1-9]\d*/);
  assert.ok(await until(() => fetch(`${url}/readyz`).then(({ ok }) => ok, () => false)), output());
  return { url };
}

async function subscribers(type) {
  const { channels } = await (await fetch(`${daemon.url}/v1/channels`)).json();
  return channels.find((channel) => channel.type === type)?.subscribers ?? 0;
}

/** Builds the application into a folder. */
async function build(dist, env) {
  await rm(`${here}${dist}`, { recursive: true, force: true });
  const { ended, output } = start(process.execPath, [NEXT, "build"], environment(dist, env));
  assert.equal(await ended, 0, output());
}

/** Starts an instance with a copy of what was built. */
async function startInstance(built, name, env) {
  const dist = `.next/${built}-${name}`;
  await rm(`${here}${dist}`, { recursive: true, force: true });
  await cp(`${here}.next/${built}`, `${here}${dist}`, { recursive: true });
  const port = await freePort();
  const { wait } = start(process.execPath, [NEXT, "start", "-H", "127.0.0.1", "-p", String(port)], environment(dist, env));
  await wait(/Ready in/);
  return { url: `http://127.0.0.1:${port}` };
}

function environment(dist, env) {
  const { TIDINGS_URL: _, ...rest } = process.env;
  return { ...rest, NEXT_TELEMETRY_DISABLED: "1", DIST: dist, TRUTH_URL: truthUrl, ...env };
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts a program, which ends with the test. */
function start(program, args, env) {
  const child = spawn(program, args, { cwd: here, env, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (text += chunk));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  running.push(() => (child.kill("SIGKILL"), ended));
  /** Waits for an output. Resolves with what matches. */
  const wait = async (pattern) => {
    let hasEnded = false;
    void ended.then(() => (hasEnded = true));
    await until(() => hasEnded || pattern.test(text));
    const match = pattern.exec(text);
    assert.ok(match, `${program} ${args.join(" ")}:\n${text}`);
    return match[0];
  };
  return { ended, output: () => text, wait };
}

/** Prints what both instances showed. */
function print(title, rows) {
  const lines = [["cache", "invalidated by", "instance a", "instance b", "events"], ...rows.map(Object.values)];
  const table = lines.map(([kind, way, ...rest]) => `  ${kind.padEnd(15)} ${way.padEnd(34)} ${rest.map((text) => String(text).padEnd(10)).join(" ")}`.trimEnd());
  printed.push("", title, ...table);
  console.log(["", title, ...table].join("\n"));
}
