// Runs cells, each in a process of its own, a few at a time.

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";

import { FAULTS } from "./faults.mjs";
import { system } from "./systems/index.mjs";

const CELL = fileURLToPath(new URL("cell.mjs", import.meta.url));
/** Far more than a run takes, for a machine with much else to do. */
const LIMIT_MS = 300_000;

/** Whether a system has what a fault breaks. */
export async function applies(name, fault) {
  const { bus, l2 } = await system(name).about();
  const has = { link: bus ?? l2, daemon: bus === "daemon", l2 };
  const { needs } = FAULTS[fault];
  return needs === undefined || Boolean(has[needs]);
}

/** The verdict on one system under one fault. */
export function run(cell) {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [CELL, JSON.stringify(cell)], { timeout: LIMIT_MS, maxBuffer: 1e8 }, (error, stdout, stderr) => {
      if (error) reject(new Error(`${cell.name} under ${cell.fault}, seed ${cell.seed}: ${error.message}\n${stderr}`));
      else resolve(JSON.parse(stdout));
    });
  });
}

/** The verdicts on all cells, `jobs` at a time, and the errors of those that could not be run. `report` is called for each. */
export async function runAll(cells, jobs, report = () => {}) {
  const verdicts = [];
  const failures = [];
  const waiting = [...cells];
  const work = async () => {
    for (let cell = waiting.shift(); cell; cell = waiting.shift()) {
      try {
        const verdict = await run(cell);
        verdicts.push(verdict);
        report(verdict);
      } catch (error) {
        console.error(error.message);
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return { verdicts, failures };
}

/** What is wrong with a verdict on a system that has to keep its bound. */
export function complaint({ name, fault, seed, isOwn, olderThanBound, staleAtRest, unansweredAtRest, errors, worst, atRest }) {
  if (!isOwn || olderThanBound + staleAtRest + unansweredAtRest + errors === 0) return undefined;
  return (
    `${name} under ${fault}: ${olderThanBound} reads older than the bound, ${staleAtRest} stale at rest, ` +
    `${errors} errors, ${unansweredAtRest} without an answer at rest; worst ${JSON.stringify(worst)}, at rest ${JSON.stringify(atRest)}; ` +
    `again: make coherence SYSTEMS=${name} FAULTS=${fault} SEED=${seed}`
  );
}
