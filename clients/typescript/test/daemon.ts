// Starts the real daemon as a process, for a test.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
// Not the global one: a test may have replaced it by a clock that stands still.
import { setTimeout as sleep } from "node:timers/promises";

/** `TIDINGS_BIN`, or the debug build of this repository. */
export const BINARY = process.env["TIDINGS_BIN"] ?? fileURLToPath(new URL("../../../target/debug/tidings", import.meta.url));

/** A running daemon. */
export class Daemon {
  readonly port: number;
  readonly #process: ChildProcess;
  readonly #exited: Promise<void>;

  private constructor(process: ChildProcess, exited: Promise<void>, port: number) {
    this.#process = process;
    this.#exited = exited;
    this.port = port;
  }

  /** Starts `tidings serve` with `flags`, by default on a free port, and waits until it is ready. */
  static async start(flags: readonly string[] = [], port = 0): Promise<Daemon> {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} does not exist: run cargo build, or set TIDINGS_BIN`);
    const child = spawn(BINARY, ["serve", "--listen", `127.0.0.1:${port}`, ...flags], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    let output = "";
    const listening = new Promise<number>((resolve, reject) => {
      const onOutput = (chunk: Buffer) => {
        output += chunk.toString();
        const port = /http:\/\/127\.0\.0\.1:([1-9]\d*)\b/.exec(output)?.[1];
        if (port) resolve(Number(port));
      };
      child.stdout.on("data", onOutput);
      child.stderr.on("data", onOutput);
      child.once("error", reject);
      void exited.then(() => reject(new Error(`the daemon ended before it listened:\n${output}`)));
    });
    const daemon = new Daemon(child, exited, await listening);
    while (!(await daemon.isReady())) await sleep(10);
    return daemon;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The id of the process. */
  get pid(): number {
    return this.#process.pid!;
  }

  async isReady(): Promise<boolean> {
    return fetch(`${this.url}/readyz`).then((response) => response.ok, () => false);
  }

  /** How many subscribers a channel has, as the daemon counts them. */
  async subscribers(channel: string): Promise<number> {
    const body = (await (await fetch(`${this.url}/v1/channels`)).json()) as {
      channels: { type: string; subscribers: number }[];
    };
    return body.channels.find(({ type }) => type === channel)?.subscribers ?? 0;
  }

  /** The value of a metric without labels. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    return Number(new RegExp(`^${name} (.+)$`, "m").exec(text)?.[1]);
  }

  /** Publishes events as they are. Throws if the daemon does not accept them. */
  async publish(events: readonly unknown[]): Promise<void> {
    const response = await fetch(`${this.url}/v1/events`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(events),
    });
    if (response.status !== 202) throw new Error(await response.text());
  }

  /** Sends SIGTERM, which begins a drain. */
  terminate(): void {
    this.#process.kill("SIGTERM");
  }

  /** Waits until the daemon has ended. */
  async ended(): Promise<void> {
    await this.#exited;
  }

  /** Ends the daemon at once, without a drain. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#exited;
  }
}
