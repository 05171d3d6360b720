// The servers of a run: daemons and Redis, each on a free port.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { connect, createServer } from "node:net";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { sleep } from "./truth.mjs";

/** `TIDINGS_BIN`, or the debug build of this repository. */
export const BINARY = process.env.TIDINGS_BIN ?? fileURLToPath(new URL("../../target/debug/tidings", import.meta.url));

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Sends a command to Redis, and resolves with whether it answered with `expected`. */
export function redisSays(port, command, expected) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(`${command}\r\n`));
    socket.on("data", (text) => (socket.destroy(), resolve(String(text).startsWith(expected))));
    socket.on("error", () => {});
    socket.on("close", () => resolve(false));
  });
}

/** A process that is killed at the end of the run. */
async function start(program, flags, isReady) {
  const child = spawn(program, flags, { stdio: ["ignore", "ignore", "pipe"] });
  let [output, failure] = ["", undefined];
  child.stderr.on("data", (chunk) => (output = (output + chunk).slice(-4_000)));
  child.once("error", (error) => (failure = error.message));
  child.once("exit", () => (failure ??= "it ended"));
  while (!(await isReady())) {
    if (failure) throw new Error(`${program} cannot be started: ${failure}\n${output}`);
    await sleep(10);
  }
  return { child, stop: () => child.kill("SIGKILL") };
}

export async function startRedis(directory) {
  const port = await freePort();
  const flags = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory];
  const server = await start("redis-server", flags.map(String), () => redisSays(port, "PING", "+PONG"));
  return { ...server, port };
}

/** Starts a node on the Redis at `redisPort`. */
export async function startDaemon(redisPort, flags = []) {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} does not exist: run make build, or set TIDINGS_BIN`);
  const port = await freePort();
  const settings = ["--listen", `127.0.0.1:${port}`, "--broker", `redis://127.0.0.1:${redisPort}`, "--log-level", "warn"];
  const isReady = () => fetch(`http://127.0.0.1:${port}/readyz`).then(({ ok }) => ok, () => false);
  const server = await start(BINARY, ["serve", ...settings, ...flags], isReady);
  return { ...server, port };
}
