// The short form: what the judge says of logs that are known, each planted bug, and the near caches of both languages under the
// quickest faults.

import assert from "node:assert/strict";
import { test } from "node:test";

import { complaint, run } from "./cells.mjs";
import { Judge } from "./judge.mjs";
import { PLANTED } from "./systems/planted.mjs";

const seed = Number(process.env.SEED || Math.floor(Math.random() * 1e6));
console.log(`SEED=${seed}`);

test("the judge measures from the first acknowledgement of a newer version", () => {
  const judge = new Judge([
    { key: "a", version: 1, acknowledged: 0 },
    { key: "a", version: 2, acknowledged: 1_000 },
    // Acknowledged before version 2: who reads 1 then is stale since 900.
    { key: "a", version: 3, acknowledged: 900 },
    // Never acknowledged: nobody has to know it.
    { key: "a", version: 4 },
    { key: "b", version: 1, acknowledged: 0 },
  ]);
  const staleness = (key, version, began) => judge.staleness({ key, version, began });
  assert.equal(staleness("a", 1, 900), 0);
  assert.equal(staleness("a", 1, 1_500), 600);
  assert.equal(staleness("a", 2, 1_500), 600);
  assert.equal(staleness("a", 3, 99_999), 0);
  assert.equal(staleness("a", 4, 99_999), 0);
  assert.equal(staleness("b", 1, 99_999), 0);
  const reads = [0, 950, 1_001, 1_401, 2_901].map((began) => ({ key: "a", version: 1, began }));
  const { stale, worstMs } = judge.count(reads);
  assert.deepEqual(stale, { 0: 4, 100: 3, 500: 2, 2_000: 1, 10_000: 0 });
  assert.equal(worstMs, 2_001);
});

const RUNS = [
  ...Object.entries(PLANTED).map(([bug, fault]) => ({ name: `planted:${bug}`, fault, isCaught: bug !== "none" })),
  ...["cut", "blackhole", "partition", "stop"].map((fault) => ({ name: "tidings-500ms", fault })),
  ...["l2-down", "l2-poisoned"].map((fault) => ({ name: "tidings-l2", fault })),
  ...["cut", "stop"].map((fault) => ({ name: "tidings-rust-500ms", fault })),
  // Misses what is published while its link is cut: stands for a planted bug in Rust.
  { name: "moka-pubsub", fault: "blip", isCaught: true },
];

test("planted bugs are caught, and the near caches keep their bound", { concurrency: 3 }, async (context) => {
  const tests = RUNS.map(({ name, fault, isCaught = false }) =>
    context.test(`${name} under ${fault}`, async () => {
      const verdict = await run({ name, fault, seed, short: true });
      assert.ok(verdict.reads > 500, `only ${verdict.reads} reads`);
      if (isCaught) assert.ok((verdict.olderThanBound ?? 0) + verdict.staleAtRest > 0, "the bug was not noticed");
      else assert.equal(complaint(verdict), undefined);
    }),
  );
  await Promise.all(tests);
});
