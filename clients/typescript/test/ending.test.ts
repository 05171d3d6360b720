// Programs of Node that end by themselves, or go on, as the state of their bus demands. And what opens a connection.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";

import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { Daemon } from "./daemon.js";
import { Middlebox } from "./middlebox.js";

let daemon: Daemon;
const ROOT = fileURLToPath(new URL("..", import.meta.url));

beforeAll(async () => {
  daemon = await Daemon.start();
});

afterAll(async () => {
  await daemon?.kill();
});

interface Program {
  output(): string;
  ended: Promise<number | null>;
  stop(): void;
}

/** Runs a program with the built client, as an ES module or as CommonJS. */
function program(text: string, { flags = [], url = daemon.url, module = true }: { flags?: string[]; url?: string; module?: boolean } = {}): Program {
  const index = `${ROOT}dist/index.${module ? "js" : "cjs"}`;
  const head = module ? `import { connect } from ${JSON.stringify(index)};` : `const { connect } = require(${JSON.stringify(index)});`;
  const args = [...flags, `--input-type=${module ? "module" : "commonjs"}`, "-e", `${head}\nconst url = ${JSON.stringify(url)};\n${text}`];
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk));
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  onTestFinished(() => void child.kill("SIGKILL"));
  return { output: () => output, ended, stop: () => child.kill("SIGKILL") };
}

const PUBLISH = 'await bus.publish("order-status", { orderId: "1", newStatus: "shipped" });';

test.each([true, false])("importing the client and connect(), as a server does while it renders a page, open nothing and keep nothing alive (ES module: %s)", async (module) => {
  // A server that counts whoever connects.
  let connections = 0;
  const server = createServer((socket) => void (connections++, socket.destroy()));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const text = `
    const bus = connect(url, { token: () => { throw new Error("called"); } });
    console.log(bus.state.status, bus.transport, bus.positions.size, process.getActiveResourcesInfo().filter((name) => /TCP|TLS|Timeout/.test(name)).join());`;
  const { output, ended } = program(text, { url, module });
  expect(await ended).toBe(0);
  expect([output(), connections]).toEqual(["idle undefined 0 \n", 0]);
});

test("a program that only publishes opens no WebSocket and no stream, and ends by itself", async () => {
  const { output, ended } = program(`const bus = connect(url);\n${PUBLISH}\nconsole.log(bus.state.status);`);
  expect(await ended).toBe(0);
  expect(output()).toBe("idle\n");
});

test("a program with a subscription goes on, and ends by itself some time after the last one has ended", async () => {
  const text = `
    const bus = connect(url, { idleTimeoutMs: 50 });
    bus.onState(({ status }) => console.log(status));
    const loop = bus.events("order-status");
    await bus.ready();
    ${PUBLISH}
    for await (const { data } of loop) { console.log(data.orderId); break; }`;
  const { output, ended } = program(text);
  expect(await ended).toBe(0);
  expect(output()).toBe("connecting\nopen\n1\nidle\n");
});

test("a program that closes its bus ends at once, whatever was subscribed", async () => {
  const text = `
    const bus = connect(url, { idleTimeoutMs: 3_600_000 });
    const loop = bus.events("order-status");
    const stop = bus.on("inventory-change", () => {});
    await bus.ready();
    stop();
    bus.close();
    console.log((await loop.next()).done);`;
  const { output, ended } = program(text);
  expect(await ended).toBe(0);
  expect(output()).toBe("true\n");
});

const TRANSPORTS = [
  ["the package ws", "", ["websocket"]],
  ["the WebSocket of Node", "--experimental-websocket", ["websocket"]],
  ["an event stream", "", ["sse"]],
  ["long-polls", "", ["long-poll"]],
] as const;

test.each(TRANSPORTS)("after unref(), a subscription keeps no process alive: %s", async (_name, flag, transports) => {
  const flags = flag === "" ? [] : [flag, "--no-warnings"];
  const text = (unref: string) => `
    const bus = connect(url, { transports: ${JSON.stringify(transports)} });
    ${unref}
    // The work of the program, which is not the bus.
    const work = setInterval(() => {}, 1_000);
    bus.on("order-status", ({ orderId }) => console.log("event", orderId));
    await bus.ready();
    ${PUBLISH}
    await bus.sync();
    console.log(bus.transport);
    clearInterval(work);`;
  const unrefed = program(text("bus.unref();"), { flags });
  expect(await unrefed.ended).toBe(0);
  expect(unrefed.output()).toBe(`event 1\n${transports[0]}\n`);
  // The control: without it, the same program goes on and receives.
  const other = program(text(""), { flags });
  await expect.poll(() => other.output()).toBe(`event 1\n${transports[0]}\n`);
  await daemon.publish([{ type: "order-status", data: { orderId: "2", newStatus: "shipped" } }]);
  await expect.poll(() => other.output()).toBe(`event 1\n${transports[0]}\nevent 2\n`);
  other.stop();
});

test.each([
  ["the package ws", ""],
  ["the WebSocket of Node", "--experimental-websocket"],
])("after unref(), the trial of a WebSocket beside the fallback keeps no process alive: %s", async (_name, flag) => {
  const box = await Middlebox.before(daemon.port);
  onTestFinished(() => box.stop());
  const flags = flag === "" ? [] : [flag, "--no-warnings"];
  // Runs until the trial hangs. Without the bus, it then has nothing left to do.
  const text = (unref: string) => `
    const bus = connect(url, { backoff: { minMs: 1, maxMs: 5 } });
    ${unref}
    bus.onError(() => {});
    const work = setInterval(() => {}, 1_000);
    bus.on("order-status", ({ orderId }) => {
      console.log(bus.transport, orderId);
      if (orderId === "try") bus.wake();
      if (orderId === "end") clearInterval(work);
    });`;
  const publish = (orderId: string) => daemon.publish([{ type: "order-status", data: { orderId, newStatus: "shipped" } }]);
  const run = async (unref: string) => {
    const child = program(text(unref), { flags, url: box.url });
    await expect.poll(async () => (await publish("go"), child.output())).toContain("sse go");
    box.hang();
    const tried = box.count("UPGRADE /v1/ws");
    await publish("try");
    await expect.poll(() => box.count("UPGRADE /v1/ws")).toBe(tried + 1);
    await publish("end");
    await expect.poll(() => child.output()).toContain("end");
    return child;
  };
  const { ended } = await run("bus.unref();");
  // The trial ends after 10 s by itself.
  expect(await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 5_000, "goes on"))])).toBe(0);
});

test("after unref(), a bus that cannot reach its daemon keeps no process alive", async () => {
  const { output, ended } = program('const bus = connect(url);\nbus.unref();\nbus.onError(() => {});\nbus.on("order-status", () => {});', { url: "http://127.0.0.1:9" });
  expect(await ended).toBe(0);
  expect(output()).toBe("");
});
