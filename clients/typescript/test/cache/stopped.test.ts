// A process that is stopped, or whose event loop is blocked, for longer than the bound. What it reads in the first moment after is
// read before it can hear of anything.

import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { expect, test } from "vitest";

import type { Daemon } from "../daemon.js";
import { startDaemon, started } from "./instance.js";

const BOUND_MS = 400;
const READER = fileURLToPath(new URL("reader.mjs", import.meta.url));

/** The clock of the reader. */
const now = () => Number(process.hrtime.bigint()) / 1e6;

const longerThanTheBound = () => new Promise((resolve) => setTimeout(resolve, 1.5 * BOUND_MS));

/** A process with a cache, and a file that it loads. */
class Reader {
  readonly #folder = mkdtempSync(join(tmpdir(), "tidings-reader-"));
  readonly process: ChildProcess;
  readonly #ended: Promise<never>;

  constructor(daemon: Daemon) {
    started.push(() => rmSync(this.#folder, { recursive: true }));
    this.save("1");
    const options = { url: daemon.url, file: this.path("truth"), boundMs: BOUND_MS };
    this.process = fork(READER, [JSON.stringify(options)], { execArgv: [] });
    this.#ended = new Promise((_, reject) => this.process.once("exit", () => reject(new Error("the reader ended"))));
    this.#ended.catch(() => {});
    started.push(() => this.process.kill("SIGKILL"));
  }

  path(name: string): string {
    return join(this.#folder, name);
  }

  save(value: string): void {
    writeFileSync(this.path("truth"), value);
  }

  /** The member `name` of the next message of the process that has it. */
  async message(name: string): Promise<any> {
    const received = new Promise((resolve) => {
      const listener = (message: any) => {
        if (!(name in message)) return;
        this.process.off("message", listener);
        resolve(message[name]);
      };
      this.process.on("message", listener);
    });
    return Promise.race([received, this.#ended]);
  }

  async order(name: string, more: object = {}): Promise<any> {
    const result = this.message("result");
    this.process.send({ name, ...more });
    return result;
  }
}

/** Publishes an invalidation. Returns the time at which it was known to be acknowledged. */
async function invalidate(daemon: Daemon): Promise<number> {
  await daemon.publish([{ type: "cache-invalidate", data: { tags: ["t"] } }]);
  return now();
}

test("a process that was stopped serves nothing old in the first moment after", async () => {
  const daemon = await startDaemon();
  const reader = new Reader(daemon);
  await reader.message("isReady");
  // A stop that does not hit the process between two reads shows nothing. It is seldom.
  for (let version = 1, isShown = false; !isShown; version++) {
    await reader.order("spin");
    reader.process.kill("SIGSTOP");
    reader.save(String(version + 1));
    const acknowledgedAt = await invalidate(daemon);
    await longerThanTheBound();
    const continuedAt = now();
    reader.process.kill("SIGCONT");
    const { served, pauses, value } = await reader.order("stop");
    const [first] = pauses.filter(({ began }: { began: number }) => began > continuedAt);
    expect(first?.value).toBeUndefined();
    expect(served[version] ?? 0).toBeLessThan(acknowledgedAt + BOUND_MS);
    expect(value).toBe(String(version + 1));
    isShown = first !== undefined && version in served;
  }
});

test("an event loop that was blocked serves nothing old in the first moment after", async () => {
  const daemon = await startDaemon();
  const reader = new Reader(daemon);
  await reader.message("isReady");
  const isBlocked = reader.message("isBlocked");
  const result = reader.order("block", { until: reader.path("end") });
  await isBlocked;
  reader.save("2");
  await invalidate(daemon);
  await longerThanTheBound();
  writeFileSync(reader.path("end"), "");
  const { before, peeked, value } = await result;
  expect([before, peeked, value]).toEqual(["1", undefined, "2"]);
});
