// An instance: a process with a cache, which reads keys all the time and logs each read.
//
// It is told by its parent what to do. Its reads go to its parent in batches. A cache in Rust is a process of its own, which this
// one asks (`systems/rust.mjs`): its reads, its loads and the clock of the log are here all the same.

import { KEYS, now, random, sleep, Truth } from "./truth.mjs";
import { system } from "./systems/index.mjs";

const { name, links, file, seed, isReading } = JSON.parse(process.argv[2]);
const TICK_MS = 10;
const READS_A_TICK = 2;
/** A tick that comes so late reads all keys at once: the process was stopped, or its event loop was blocked. */
const LATE_MS = 300;
/** Far more than an answer takes, for a machine with much else to do. */
const ANSWER_LIMIT_MS = 15_000;

const truth = new Truth(file);
const next = random(seed);
const count = { reads: 0, loads: 0, errors: 0, unanswered: 0 };
let [slowMs, log, isLogging, isPaused] = [0, [], isReading, false];

/** Reads the truth, as a query of a database does: the answer is on its way for some time. */
async function load(key) {
  count.loads++;
  const version = truth.version(key);
  await sleep(slowMs || (next() < 0.05 ? 150 * next() : 15 * next()));
  return version;
}

const cache = await system(name).open({ ...links, load, truth, isWriter: false });

async function read(key) {
  const began = now();
  count.unanswered++;
  count.reads++;
  try {
    const version = await cache.read(key);
    if (isLogging) log.push([key, version, began, now()]);
  } catch {
    count.errors++;
  } finally {
    count.unanswered--;
  }
}

function send() {
  if (log.length > 0) process.send({ log });
  log = [];
}

/** Reads every key once. */
async function rest() {
  const one = async (key) => {
    const began = now();
    const late = sleep(ANSWER_LIMIT_MS).then(() => undefined);
    return { key, version: await Promise.race([cache.read(key).catch(() => undefined), late]), began };
  };
  return Promise.all(KEYS.map(one));
}

const orders = {
  slow: ({ ms }) => void (slowMs = ms),
  pause: () => void (isPaused = true),
  resume: () => void (isPaused = false),
  block: ({ ms }) => {
    void cache.block?.(ms);
    for (const until = now() + ms; now() < until; );
  },
  end: async () => {
    isLogging = false;
    // What is still being loaded is no read without an answer.
    for (const until = now() + ANSWER_LIMIT_MS; count.unanswered > 0 && now() < until; ) await sleep(10);
    send();
    return { ...count, ...(cache.loads && { loads: cache.loads() }) };
  },
  rest,
};
process.on("message", async (order) => process.send({ id: order.id, result: await orders[order.name](order) }));
process.on("disconnect", () => process.exit());

process.send({ isReady: true });
let last = now();
while (isReading) {
  // Timers run before sockets are read: what came while the process was stopped has not been seen by this tick.
  await sleep(TICK_MS);
  const isLate = now() - last > LATE_MS;
  last = now();
  if (!isLogging || isPaused) continue;
  const keys = isLate ? KEYS : Array.from({ length: READS_A_TICK }, () => KEYS[Math.floor(next() * KEYS.length)]);
  for (const key of keys) void read(key);
  if (log.length > 50) send();
}
