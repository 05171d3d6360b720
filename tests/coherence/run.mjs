// The coherence checker: `make coherence`. Prints a table of stale reads, system by system, and writes it into docs/cache.md if
// everything was run. Ends with 1 if a cache of this project breaks its word.
//
// SYSTEMS and FAULTS narrow it (names, separated by blanks), SEED repeats a run, JOBS says how many cells run at a time.

import { availableParallelism } from "node:os";

import { applies, complaint, runAll } from "./cells.mjs";
import { FAULTS } from "./faults.mjs";
import { SYSTEMS } from "./systems/index.mjs";
import { faultTable, systemTable, writeTables } from "./table.mjs";

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
const { verdicts, failures } = await runAll(cells, jobs, ({ name, fault, reads, writes, worstMs, staleAtRest, hitRate }) => {
  const figures = `${reads} reads, ${writes} writes, worst ${Math.round(worstMs)} ms, ${staleAtRest} stale at rest, hit rate ${Math.round(100 * hitRate)} %`;
  console.log(`${++done}/${cells.length} ${name} under ${fault}: ${figures}`);
});

const tables = [
  systemTable(verdicts, systems),
  "By fault, the worst staleness of a read, and the stale entries at rest:",
  faultTable(verdicts, systems),
];
const text = `\n${tables.join("\n\n")}\n`;
console.log(text);
if (failures.length === 0 && !process.env.SYSTEMS?.trim() && !process.env.FAULTS?.trim()) writeTables(`\nSeed ${seed}.\n${text}`);
const complaints = [...failures.map(({ message }) => message), ...verdicts.map(complaint).filter(Boolean)];
for (const each of complaints) console.error(each);
process.exitCode = complaints.length > 0 ? 1 : 0;
