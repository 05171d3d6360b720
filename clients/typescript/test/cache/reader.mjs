// A process with a cache, for tests that stop it or block its event loop: `node reader.mjs '{"url":…,"file":…,"boundMs":…}'`, with
// an IPC channel to its parent.
//
// Its loader reads the file. It answers each message `{ name, … }` with `{ result }`. All times are milliseconds of the monotonic
// clock, which is the same for all processes of a machine.

import { existsSync, readFileSync } from "node:fs";

import { createCache } from "../../dist/cache.js";
import { connect } from "../../dist/index.js";

const { url, file, boundMs } = JSON.parse(process.argv[2]);
const now = () => Number(process.hrtime.bigint()) / 1e6;

const bus = connect(url);
const cache = createCache({ bus, ttl: "1h", maxEntries: 10, bound: boundMs });
const read = () => cache.getOrSet("k", () => readFileSync(file, "utf8"), { tags: ["t"] });

/** Waits until the next read is a hit. */
async function hit() {
  await bus.sync();
  while (cache.peek("k") === undefined) await read();
}

/** When each value was served the last time. */
const served = {};
/** The first read after each pause of this process within its loop of reads. */
const pauses = [];
let isSpinning = false;

/** Reads without a pause, and lets the event loop run in between. So a stop nearly always finds this process between two reads. */
async function spin() {
  while (isSpinning) {
    await read();
    const end = now() + 20;
    for (let last = now(); last < end; ) {
      const began = now();
      const value = cache.peek("k");
      if (value !== undefined) served[value] = began;
      if (began - last > boundMs) pauses.push({ began, value });
      last = began;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const orders = {
  async spin() {
    await hit();
    isSpinning = true;
    void spin();
  },
  async stop() {
    isSpinning = false;
    return { served, pauses, value: await read() };
  },
  /** Blocks the event loop from a hit until there is a file `until`, and reads at once. */
  async block({ until }) {
    await hit();
    const before = cache.peek("k");
    await new Promise((resolve) => process.send({ isBlocked: true }, resolve));
    while (!existsSync(until));
    const peeked = cache.peek("k");
    return { before, peeked, value: await read() };
  },
};
process.on("message", async (order) => process.send({ result: (await orders[order.name](order)) ?? null }));
process.on("disconnect", () => process.exit());
process.send({ isReady: true });
