// The tables of a run, and their place in docs/cache.md.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";

import { applies } from "./cells.mjs";
import { FAULTS } from "./faults.mjs";
import { BOUNDS } from "./judge.mjs";
import { SYSTEMS } from "./systems/index.mjs";

const FILE = new URL("../../docs/cache.md", import.meta.url);
const TARGET = new URL("../../target/", import.meta.url);
/** Where verdicts are kept, by system and fault. */
export const KEPT = new URL("coherence.json", TARGET);
const BEGIN = "<!-- coherence: written by make coherence -->";
const END = "<!-- end of coherence -->";

const duration = (ms) => (ms === 0 ? "0" : ms < 1_000 ? `${Math.round(ms)} ms` : `${Number((ms / 1_000).toFixed(1))} s`);
const number = (value) => value.toLocaleString("en-US");

function grid(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, index) => (index === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}

function bySystem(verdicts) {
  return SYSTEMS
    .map((name) => verdicts.filter((verdict) => verdict.name === name))
    .filter(({ length }) => length > 0);
}

const sum = (verdicts, field) => verdicts.reduce((total, verdict) => total + field(verdict), 0);

/** System × stale reads at each bound, over all faults. */
function systemTable(verdicts) {
  const head = ["system", "reads", ...BOUNDS.map((ms) => `> ${duration(ms)}`), "worst", "at rest", "errors", "hit rate", "loads"];
  const rows = bySystem(verdicts).map((own) => [
    own[0].title,
    number(sum(own, ({ reads }) => reads)),
    ...BOUNDS.map((ms) => number(sum(own, ({ stale }) => stale[ms]))),
    duration(Math.max(...own.map(({ worstMs }) => worstMs))),
    number(sum(own, ({ staleAtRest }) => staleAtRest)),
    number(sum(own, ({ errors, unanswered, unansweredAtRest }) => errors + unanswered + unansweredAtRest)),
    `${Math.round((100 * sum(own, ({ hitRate }) => hitRate)) / own.length)} %`,
    number(sum(own, ({ loads }) => loads)),
  ]);
  return grid(head, rows);
}

/** Fault × system: the worst staleness, and what is stale at rest. */
function faultTable(verdicts) {
  const owns = bySystem(verdicts);
  const rows = Object.entries(FAULTS)
    .filter(([fault]) => verdicts.some((verdict) => verdict.fault === fault))
    .map(([fault, { title }]) => [
      title,
      ...owns.map((own) => {
        const verdict = own.find((each) => each.fault === fault);
        return verdict ? `${duration(verdict.worstMs)}; ${verdict.staleAtRest}` : "–";
      }),
    ]);
  return grid(["fault", ...owns.map((own) => own[0].title)], rows);
}

export const tables = (verdicts) =>
  [
    systemTable(verdicts),
    "By fault, the worst staleness of a read, and how many reads were stale at rest:",
    faultTable(verdicts),
  ].join("\n\n");

export function keptVerdicts() {
  mkdirSync(TARGET, { recursive: true });
  return existsSync(KEPT) ? JSON.parse(readFileSync(KEPT, "utf8")) : {};
}

/** Writes the tables of the faults under which every system was run between the markers of docs/cache.md. */
export async function writeTables(kept) {
  const all = [];
  for (const fault of Object.keys(FAULTS)) {
    const wanted = [];
    for (const name of SYSTEMS) if (await applies(name, fault)) wanted.push(kept[`${name} ${fault}`]);
    if (wanted.every(Boolean)) all.push(...wanted);
  }
  if (all.length === 0) return;
  const seeds = [...new Set(all.map(({ seed }) => seed))].join(", ");
  const document = readFileSync(FILE, "utf8");
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`docs/cache.md has no lines ${BEGIN} and ${END}`);
  const text = `${BEGIN}\n\nSeeds: ${seeds}.\n\n${tables(all)}\n\n`;
  writeFileSync(FILE, document.slice(0, begin) + text + document.slice(end));
}
