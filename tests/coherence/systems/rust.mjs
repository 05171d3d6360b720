// Caches in Rust: the near cache of `tidings::cache`, and what teams write by hand, moka and Redis pub/sub that deletes.
//
// The cache is a process of its own (`rust/`), with which this one talks in lines of JSON. It is in the process group of this one,
// and ends with it, so that what happens to an instance happens to both.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const DEBUG_BUILD = fileURLToPath(new URL("../../../target/debug/examples/coherence-cache", import.meta.url));
const BINARY = process.env.COHERENCE_CACHE_BIN ?? DEBUG_BUILD;

const SYSTEMS = {
  "tidings-rust": { title: "tidings in Rust, L1", bus: "daemon", isOwn: true, boundMs: 2_000 },
  "tidings-rust-500ms": { title: "tidings in Rust, L1, `bound` 500 ms", bus: "daemon", isOwn: true, boundMs: 500 },
  "tidings-rust-l2": { title: "tidings in Rust, L1 + L2", bus: "daemon", l2: true, isOwn: true, boundMs: 2_000 },
  "moka-pubsub": { title: "moka + fred pub/sub, by hand", bus: "redis" },
};

export const about = (name) => SYSTEMS[name];

export async function open({ bus, l2, load }, name) {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} does not exist: run make build-coherence, or set COHERENCE_CACHE_BIN`);
  const { isOwn, boundMs } = about(name);
  const setup = isOwn ? { cache: "tidings", bus, l2, boundMs } : { cache: name, bus };
  const cache = spawn(BINARY, [JSON.stringify(setup)], { stdio: ["pipe", "pipe", "inherit"] });
  // There is no instance without its cache.
  for (const event of ["error", "exit"]) cache.once(event, () => process.exit(1));
  process.once("exit", () => cache.kill("SIGKILL"));
  cache.stdin.on("error", () => {});

  const calls = new Map();
  const writes = new Map();
  const say = (line) => cache.stdin.write(`${JSON.stringify(line)}\n`);
  const call = (id, name, options) =>
    new Promise((resolve, reject) => {
      calls.set(id, { resolve, reject });
      say({ id, call: name, ...options });
    });
  let last = 0;

  async function answer({ ask, load: key, write }) {
    if (key !== undefined) return say({ answer: ask, version: await load(key) });
    await writes.get(write)();
    say({ answer: ask });
  }

  function settle({ id, version, error }) {
    const { resolve, reject } = calls.get(id);
    calls.delete(id);
    if (error) reject(new Error(error));
    else resolve(version);
  }

  await new Promise((resolve) => {
    createInterface({ input: cache.stdout }).on("line", (text) => {
      const line = JSON.parse(text);
      if (line.isReady) resolve();
      else if (line.ask) void answer(line);
      else settle(line);
    });
  });
  return {
    read: (key) => call(++last, "read", { key }),
    invalidate: (key) => call(++last, "invalidate", { key }),
    block: (ms) => call(++last, "block", { ms }),
    ...(isOwn && {
      mutate: (key, write) => {
        const id = ++last;
        writes.set(id, write);
        return call(id, "mutate", { key }).finally(() => writes.delete(id));
      },
    }),
  };
}
