// The coherence checker: `make coherence`. Prints a table of stale reads, system by system. Ends with 1 if a cache of this project
// breaks its word.
//
// The verdicts are kept in target/coherence.json, so that a part can be run again. The faults under which every system was run go
// into the tables of docs/cache.md.
//
// SYSTEMS and FAULTS narrow it (names, separated by blanks), SEED repeats a run, JOBS says how many cells run at a time.

import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";

import { applies, complaint, runAll } from "./cells.mjs";
import { FAULTS } from "./faults.mjs";
import { SYSTEMS } from "./systems/index.mjs";
import { KEPT, keptVerdicts, tables, writeTables } from "./table.mjs";

const list = (text, all) => (text?.trim() ? text.trim().split(/\s+/) : all);
const systems = list(process.env.SYSTEMS, SYSTEMS);
const faults = list(process.env.FAULTS, Object.keys(FAULTS));
const unknown = faults.filter((fault) => !(fault in FAULTS));
if (unknown.length > 0) throw new Error(`there is no fault ${unknown.join(", ")}: one of ${Object.keys(FAULTS).join(", ")}`);
const seed = Number(process.env.SEED || Math.floor(Math.random() * 1e6));
const jobs = Number(process.env.JOBS || Math.max(2, availableParallelism()));

const cells = [];
for (const fault of faults) for (const name of systems) if (await applies(name, fault)) cells.push({ name, fault, seed });
console.log(`${cells.length} runs of 8 to 20 s, ${jobs} at a time; SEED=${seed}`);
let done = 0;
const { verdicts, failures } = await runAll(cells, jobs, (verdict) => {
  const { name, fault, reads, writes, worstMs, staleAtRest, hitRate } = verdict;
  const figures = `worst ${Math.round(worstMs)} ms, ${staleAtRest} stale at rest, hit rate ${Math.round(100 * hitRate)} %`;
  console.log(`${++done}/${cells.length} ${name} under ${fault}: ${reads} reads, ${writes} writes, ${figures}`);
  // Read again, since another run may have added to it.
  writeFileSync(KEPT, JSON.stringify({ ...keptVerdicts(), [`${name} ${fault}`]: verdict }, null, 1));
});

console.log(`\n${tables(verdicts)}\n`);
await writeTables(keptVerdicts());
const complaints = [...failures.map(({ message }) => message), ...verdicts.map(complaint).filter(Boolean)];
for (const each of complaints) console.error(each);
process.exitCode = complaints.length > 0 ? 1 : 0;
