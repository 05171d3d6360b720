// Starts a real Redis on a free port, for a test.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
// Not the global one: a test may have replaced it by a clock that stands still.
import { setTimeout as sleep } from "node:timers/promises";

export class Redis {
  readonly port: number;
  readonly #process: ChildProcess;
  readonly #directory: string;

  private constructor(process: ChildProcess, directory: string, port: number) {
    this.#process = process;
    this.#directory = directory;
    this.port = port;
  }

  static async start(): Promise<Redis> {
    const port = await freePort();
    const directory = mkdtempSync(join(tmpdir(), "tidings-redis-"));
    const flags = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory];
    const child = spawn("redis-server", flags, { stdio: "ignore" });
    const failed = new Promise<never>((_, reject) => {
      child.once("error", () => reject(new Error("redis-server cannot be started: apt-get install redis-server")));
      child.once("exit", () => reject(new Error("redis-server ended")));
    });
    // `stop` ends Redis on purpose, which must not become an unhandled rejection.
    failed.catch(() => {});
    while (!(await Promise.race([respondsToPing(port), failed]))) await sleep(10);
    return new Redis(child, directory, port);
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Ends Redis, unless that was done before. */
  async stop(): Promise<void> {
    if (this.#process.killed) return;
    const exited = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await exited;
    rmSync(this.#directory, { recursive: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Whether Redis responds on this port. */
function respondsToPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
    socket.on("data", (text) => (socket.destroy(), resolve(String(text).startsWith("+PONG"))));
    socket.on("error", () => {});
    socket.on("close", () => resolve(false));
  });
}
