// Starts the shop as `make example-shop` does, a Redis, and a browser, for a test.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { type Browser, chromium } from "playwright-core";

import { findPort } from "../run/ports.ts";
import { Shop } from "../server/shop.ts";

const FOLDER = fileURLToPath(new URL("..", import.meta.url));
/** `TIDINGS_BIN`, or the debug build of this repository: a release build may be an old one. */
const BINARY = process.env["TIDINGS_BIN"] ?? fileURLToPath(new URL("../../../target/debug/tidings", import.meta.url));
const CHROMIUM = process.env["CHROMIUM_BIN"] ?? "/usr/bin/chromium";

export const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `check` returns something, or `undefined` for longer than is reasonable. */
export async function until<Value>(what: string, check: () => Value | Promise<Value>, limitMs = 30_000): Promise<NonNullable<Value>> {
  for (const end = performance.now() + limitMs; performance.now() < end; await sleep(20)) {
    const value = await check();
    if (value) return value;
  }
  throw new Error(`${what} did not happen within ${limitMs / 1000} s`);
}

/** A running shop: all its processes. */
export class RunningShop {
  readonly #start: ChildProcess;
  readonly #temporary: string;
  output = "";
  url = "";

  private constructor(start: ChildProcess, temporary: string) {
    this.#start = start;
    this.#temporary = temporary;
    for (const stream of [start.stdout!, start.stderr!]) stream.on("data", (chunk) => (this.output += chunk));
  }

  /** Starts it on free ports. */
  static async start(env: NodeJS.ProcessEnv = {}, through: readonly string[] = []): Promise<RunningShop> {
    const temporary = mkdtempSync(join(tmpdir(), "tidings-shop-test-"));
    const [command, ...args] = [...through, process.execPath, "--import", "tsx", "run/start.ts"];
    const child = spawn(command!, args, {
      cwd: FOLDER, env: { ...process.env, TIDINGS_BIN: BINARY, PORT: "0", TMPDIR: temporary, ...env }, stdio: ["ignore", "pipe", "pipe"],
      // A group of its own, as a shell makes one.
      detached: true,
    });
    const shop = new RunningShop(child, temporary);
    shop.url = await until("the start of the shop", () => {
      if (child.exitCode !== null) throw new Error(`the shop ended:\n${shop.output}`);
      return /The shop is open: (\S+)/.exec(shop.output)?.[1];
    });
    return shop;
  }

  /** Its database, as the instances have it. */
  openDatabase(): Shop {
    return new Shop(join(this.#temporary, this.folders()[0]!, "shop.db"));
  }

  /** Sends a signal to the start program, and waits until it has ended. */
  async end(signal: NodeJS.Signals): Promise<void> {
    if (!this.#isRunning) return;
    this.#start.kill(signal);
    await once(this.#start, "exit");
  }

  /** Presses Ctrl-C: the terminal tells all processes of the group. */
  async interrupt(): Promise<void> {
    process.kill(-this.#start.pid!, "SIGINT");
    if (this.#isRunning) await once(this.#start, "exit");
  }

  get #isRunning(): boolean {
    return this.#start.exitCode === null && this.#start.signalCode === null;
  }

  /** The folders that it has made. */
  folders(): string[] {
    return readdirSync(this.#temporary).filter((name) => name.startsWith("tidings-shop-"));
  }

  /** The command lines of its processes. They are known by their environment. */
  processes(): string[] {
    return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
      try {
        const isOwn = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(`TMPDIR=${this.#temporary}`);
        return isOwn ? [readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")] : [];
      } catch {
        return [];
      }
    });
  }

  /** Ends it, and forgets what the test has made. */
  async stop(): Promise<void> {
    await this.end("SIGTERM");
    rmSync(this.#temporary, { recursive: true, force: true });
  }
}

/** A Redis that can be killed, and started again at the same port, where it has lost everything. */
export class Redis {
  readonly #port: number;
  #process: ChildProcess | undefined;

  private constructor(port: number) {
    this.#port = port;
  }

  static async start(): Promise<Redis> {
    const redis = new Redis(await findPort(0));
    await redis.again();
    return redis;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.#port}`;
  }

  async again(): Promise<void> {
    const flags = ["--port", String(this.#port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    this.#process = spawn("redis-server", flags, { cwd: tmpdir(), stdio: "ignore" });
    this.#process.once("error", (error) => console.error(`redis-server: ${error.message}: apt-get install redis-server`));
    await until("the start of Redis", () => new Promise<boolean>((resolve) => {
      const socket = connect(this.#port, "127.0.0.1", () => (socket.destroy(), resolve(true)));
      socket.on("error", () => resolve(false));
    }));
  }

  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
}

export async function launch(): Promise<Browser> {
  if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} does not exist: apt-get install chromium, or set CHROMIUM_BIN`);
  const args = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  return chromium.launch({ executablePath: CHROMIUM, args });
}
