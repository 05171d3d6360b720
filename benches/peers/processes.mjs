// Starts and ends the servers of the check: free ports, "ready", descendant processes, Redis. This module does not know
// the peers.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const NOT_INSTALLED = 3;
const READY_MS = 20_000;
const END_MS = 10_000;

// The servers end with this process, also after Ctrl-C or an exception.
const running = new Set();
process.once("exit", () => {
  for (const { child, work } of running) {
    child.kill("SIGTERM");
    rmSync(work, { recursive: true, force: true });
  }
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/** A free port. The next port is free as well. */
export async function freePorts() {
  for (;;) {
    const first = await listen(0);
    const { port } = first.address();
    const second = await listen(port + 1).catch(() => undefined);
    for (const server of [first, second]) server?.close();
    if (second) return port;
  }
}

async function listen(port) {
  const server = createServer().listen(port, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** Whether no process listens on the port. */
export async function isFree(port) {
  const socket = connect(port, "127.0.0.1");
  const free = await once(socket, "connect").then(() => false, () => true);
  socket.destroy();
  return free;
}

/** Starts a server and waits until it prints "ready"; undefined if it is not installed. */
export async function start(command, args) {
  const work = await mkdtemp(join(tmpdir(), "peer-"));
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, TMPDIR: work } });
  const exited = once(child, "exit");
  let said = "";
  const server = { child, exited, work, said: () => said.trim() };
  running.add(server);
  child.stderr.on("data", (data) => (said = (said + data).slice(-2_000)));
  const ready = (async () => {
    for await (const line of createInterface(child.stdout)) if (line === "ready") return line;
    return exited.then(() => "exit");
  })();
  const first = await Promise.race([ready, sleep(READY_MS, "late", undefined, { ref: false })]);
  child.stdout.resume();
  if (first === "ready") return server;
  await stop(server);
  if (child.exitCode === NOT_INSTALLED) return undefined;
  throw new Error(`${command} did not become ready: ${said.trim() || first}`);
}

/** Ends a server, and returns a list of what it left behind: processes and files. */
export async function stop(server) {
  const { child, exited, work } = server;
  const left = [];
  const family = child.exitCode === null && child.signalCode === null ? await descendants(child.pid) : [];
  child.kill("SIGTERM");
  if (await Promise.race([exited.then(() => false), sleep(END_MS, true, undefined, { ref: false })])) {
    left.push("it does not end on SIGTERM");
    child.kill("SIGKILL");
    await exited;
  }
  for (const pid of family) {
    // A process that its parent has just ended may take a moment to exit.
    for (let n = 0; n < 50 && (await isAlive(pid)); n++) await sleep(20);
    if (!(await isAlive(pid))) continue;
    left.push(`process ${pid} outlived it`);
    process.kill(pid, "SIGKILL");
  }
  const files = await readdir(work);
  if (files.length > 0) left.push(`it left ${files.join(", ")} in its temporary folder`);
  await rm(work, { recursive: true });
  running.delete(server);
  return left;
}

/** All descendants of a process. */
async function descendants(pid) {
  const parents = new Map();
  for (const name of await readdir("/proc")) {
    const stat = /^\d+$/.test(name) && (await readFile(`/proc/${name}/stat`, "utf8").catch(() => ""));
    // The name of the program, in brackets, may contain any characters.
    if (stat) parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
  }
  const found = [pid];
  for (const parent of found) for (const [child, its] of parents) if (its === parent) found.push(child);
  return found.slice(1);
}

async function isAlive(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat !== "" && stat.slice(stat.lastIndexOf(")") + 2)[0] !== "Z";
}

/** Starts a Redis server for the check. It writes no files. */
export async function startRedis() {
  const port = await freePorts();
  const script = 'redis-server --port "$0" --bind 127.0.0.1 --save "" --appendonly no --dir "$TMPDIR" >&2 & trap "kill $!" TERM\n' +
    'until (exec 3<>/dev/tcp/127.0.0.1/"$0") 2>/dev/null; do kill -0 $! || exit 1; sleep 0.05; done; echo ready; wait; wait';
  return { port, server: await start("bash", ["-c", script, String(port)]) };
}
