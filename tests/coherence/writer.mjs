// A writer: a process that commits new versions and invalidates them, and logs when each was committed and acknowledged.

import { KEYS, now, random, sleep, Truth } from "./truth.mjs";
import { system } from "./systems/index.mjs";

const { name, links, file, seed } = JSON.parse(process.argv[2]);
const PAUSE_MS = 40;
const truth = new Truth(file);
const next = random(seed);
const pending = new Set();
let isWriting = false;

const load = (key) => truth.version(key);
const cache = await system(name).open({ ...links, load, truth, isWriter: true });

function commit(key) {
  const version = truth.commit(key);
  const write = { key, version, committed: now() };
  process.send({ write });
  return write;
}

async function publish(write) {
  // A writer that got no acknowledgement tries again, with every system.
  for (;;) {
    try {
      await cache.invalidate(write.key);
      break;
    } catch {
      await sleep(100);
    }
  }
  process.send({ write: { ...write, acknowledged: now() } });
}

function write(key) {
  const promise = publish(commit(key)).finally(() => pending.delete(promise));
  pending.add(promise);
}

const orders = {
  start: () => void (isWriting = true),
  /** Ends writing, and waits for the acknowledgements. */
  stop: async () => {
    isWriting = false;
    await Promise.race([Promise.all(pending), sleep(10_000)]);
  },
  /** Writes every key, `times` times. */
  burst: async ({ times = 1 }) => {
    for (let time = 0; time < times; time++) {
      for (const key of KEYS) (write(key), await sleep(1));
    }
    await Promise.race([Promise.all(pending), sleep(10_000)]);
  },
  /** Commits some keys, and dies before it has told anybody. */
  die: async ({ keys }) => {
    let missing = keys.length;
    const last = async (key) => {
      const written = commit(key);
      await new Promise((resolve) => process.send({ write: { ...written, isOrphan: true } }, resolve));
      // The whole group: a cache in Rust is another process of it.
      if (--missing === 0) process.kill(-process.pid, "SIGKILL");
      await new Promise(() => {});
    };
    await Promise.all(keys.map((key) => (cache.mutate ? cache.mutate(key, () => last(key)) : last(key))));
  },
};
process.on("message", async (order) => process.send({ id: order.id, result: await orders[order.name](order) }));
process.on("disconnect", () => process.exit());

process.send({ isReady: true });
for (;;) {
  await sleep(PAUSE_MS * 2 * next());
  if (isWriting) write(KEYS[Math.floor(next() * KEYS.length)]);
}
