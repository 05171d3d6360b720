// The programs of examples/node, run as a user runs them. They import the built client: `npm test` builds it first.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { afterEach, beforeEach, expect, test } from "vitest";

import { Daemon } from "./daemon.js";

let daemon: Daemon;
let folder: string;
const running = new Set<ChildProcess>();

beforeEach(async () => {
  daemon = await Daemon.start();
  folder = await mkdtemp(join(tmpdir(), "tidings-examples-"));
});

afterEach(async () => {
  for (const child of running) child.kill("SIGKILL");
  running.clear();
  await daemon.kill();
  await rm(folder, { recursive: true });
});

/** An example that runs, with what it has printed so far. */
interface Example {
  readonly out: string[];
  readonly err: string[];
  /** Sends SIGINT, as Ctrl-C does, and resolves to the exit code. */
  stop(): Promise<number | null>;
  readonly ended: Promise<number | null>;
}

function example(name: string, ...args: string[]): Example {
  const program = fileURLToPath(new URL(`../../../examples/node/${name}.mjs`, import.meta.url));
  const child = spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env: { ...process.env, TIDINGS_URL: daemon.url },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  const lines = (stream: NodeJS.ReadableStream): string[] => {
    const all: string[] = [];
    let rest = "";
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop() ?? "";
      all.push(...parts);
    });
    return all;
  };
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const stop = (): Promise<number | null> => {
    child.kill("SIGINT");
    return ended;
  };
  return { out: lines(child.stdout), err: lines(child.stderr), stop, ended };
}

function sale(productId: string): { type: string; data: unknown } {
  return { type: "inventory-change", data: { productId, oldQuantity: 100, newQuantity: 95, reason: "sale" } };
}

test("publish.mjs publishes an event and prints a refusal", async () => {
  const { out, err, ended } = example("publish");
  expect(await ended, err.join("\n")).toBe(0);
  expect(out).toEqual([
    expect.stringMatching(/^published [0-9a-f-]{36} at \w+:1$/),
    "refused: invalid-event",
    expect.stringMatching(/^ {2}\/data\/newQuantity: must be of type integer/),
  ]);
});

test("subscribe.mjs resumes after a restart", async () => {
  await daemon.publish([sale("a")]);
  const first = example("subscribe");
  await expect.poll(() => first.out).toEqual([expect.stringMatching(/:1 a: 95 left$/)]);
  await daemon.publish([sale("b")]);
  await expect.poll(() => first.out).toHaveLength(2);
  expect(await first.stop(), first.err.join("\n")).toBe(0);
  await daemon.publish([sale("c")]);

  const second = example("subscribe");
  await expect.poll(() => second.out).toEqual([expect.stringMatching(/:3 c: 95 left$/)]);
});

test("stream.mjs reads a stream and resumes after a restart of the daemon", async () => {
  // The log in a file is there again after the restart.
  const { port } = daemon;
  await daemon.kill();
  const flags = ["--broker", `file:${join(folder, "log")}`];
  daemon = await Daemon.start(flags, port);
  const stream = example("stream", "inventory-change");
  await expect.poll(() => stream.err).toContain("streaming");
  await daemon.publish([sale("a")]);
  await expect.poll(() => stream.out.length).toBe(1);

  await daemon.kill();
  daemon = await Daemon.start(flags, port);
  await daemon.publish([sale("b")]);
  await expect.poll(() => stream.out.length).toBe(2);
  const subjects = stream.out.map((line) => {
    const [type, json] = [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)];
    return [type, (JSON.parse(json) as { subject: string }).subject];
  });
  expect(subjects).toEqual([["inventory-change", "a"], ["inventory-change", "b"]]);
});
