// The tables of a run, and their place in docs/cache.md.

import { readFileSync, writeFileSync } from "node:fs";

import { FAULTS } from "./faults.mjs";
import { BOUNDS } from "./judge.mjs";

const FILE = new URL("../../docs/cache.md", import.meta.url);
const BEGIN = "<!-- coherence: written by make coherence -->";
const END = "<!-- end of coherence -->";

const duration = (ms) => (ms === 0 ? "0" : ms < 1_000 ? `${Math.round(ms)} ms` : `${Number((ms / 1_000).toFixed(1))} s`);
const number = (value) => value.toLocaleString("en-US");

function grid(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, index) => (index === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}

function bySystem(verdicts, systems) {
  return systems
    .map((name) => verdicts.filter((verdict) => verdict.name === name))
    .filter(({ length }) => length > 0);
}

const sum = (verdicts, field) => verdicts.reduce((total, verdict) => total + field(verdict), 0);

/** System × stale reads at each bound, over all faults. */
export function systemTable(verdicts, systems) {
  const head = ["system", "reads", ...BOUNDS.map((ms) => `> ${duration(ms)}`), "worst", "at rest", "errors", "hit rate", "loads"];
  const rows = bySystem(verdicts, systems).map((own) => [
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
export function faultTable(verdicts, systems) {
  const owns = bySystem(verdicts, systems);
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

/** Writes the tables between the markers of docs/cache.md. */
export function writeTables(text) {
  const document = readFileSync(FILE, "utf8");
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`docs/cache.md has no lines ${BEGIN} and ${END}`);
  writeFileSync(FILE, `${document.slice(0, begin)}${BEGIN}\n${text}\n${document.slice(end)}`);
}
