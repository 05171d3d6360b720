// Thousands of random schedules with faults: no read is older than the bound, and nothing is stale at rest.

import { expect, test } from "vitest";

import { simulate } from "./simulation.js";

/** How many schedules, and the first seed: `TIDINGS_SEED=17 TIDINGS_SCHEDULES=1` repeats one. */
const FIRST = Number(process.env["TIDINGS_SEED"] ?? 1 + (Date.now() % 1_000_000));
const SCHEDULES = Number(process.env["TIDINGS_SCHEDULES"] ?? 300);

test(`no read is stale in ${SCHEDULES} schedules from seed ${FIRST} on`, { timeout: 600_000 }, async () => {
  let [reads, hits] = [0, 0];
  for (let seed = FIRST; seed < FIRST + SCHEDULES; seed++) {
    const result = await simulate(seed);
    expect(result.stale, `TIDINGS_SEED=${seed}`).toEqual([]);
    reads += result.reads;
    hits += result.hits;
  }
  // The schedules do what they are for.
  expect(hits / reads).toBeGreaterThan(0.1);
  console.log(`${SCHEDULES} schedules from seed ${FIRST} on: ${reads} reads, ${hits} hits`);
});
