// The console under load: 10,000 events a second while its Live view is open. `make bench-console`.
//
// Rounds with and without the console take turns, on one daemon, so that both meet the same machine. `tidings bench` publishes
// and counts; the page counts its frames and long tasks. Writes target/console/load.json. What must hold: the daemon delivers
// within 5 % as much with the console as without it, and the view goes on drawing.
//
// The browser has the lowest priority: people's browsers run on another machine, and take no processor from the daemon. So
// its frames are those of a machine that is busy with something else.

import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { setPriority } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import type { Page } from "playwright-core";
import { expect, test } from "vitest";

import { BINARY } from "../../clients/typescript/test/daemon.js";
import { browser, Console, Daemon } from "../test/console.js";

const [RATE, SECONDS, SUBSCRIBERS] = [10_000, 8, 5];
const ROUNDS = Number(process.env["ROUNDS"] ?? 5);
const FOLDER = fileURLToPath(new URL("../../target/console", import.meta.url));

/** One round of `tidings bench`. */
async function load(url: string): Promise<any> {
  const args = ["bench", "--url", url, "--rate", `${RATE}`, "--seconds", `${SECONDS}`, "--connections", `${SUBSCRIBERS}`, "--json"];
  // An exit with 1 is a lost event: the round is not judged.
  const { stdout } = await promisify(execFile)(BINARY, args);
  return JSON.parse(stdout);
}

/** Gives the browser that this process started the lowest priority, with all of its threads. Linux alone has them in /proc. */
function yieldToOthers(): void {
  if (process.platform !== "linux") return;
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    try {
      if (/^\d+$/.test(name)) parents.set(Number(name), Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, "utf8"))![1]));
    } catch {
      // It has ended meanwhile.
    }
  }
  const isOurs = (id: number): boolean => parents.get(id) === process.pid || (parents.has(id) && isOurs(parents.get(id)!));
  for (const id of parents.keys()) {
    if (!isOurs(id)) continue;
    for (const thread of readdirSync(`/proc/${id}/task`)) setPriority(Number(thread), 19);
  }
}

/** Begins to note frames and long tasks. The result is of the time until `read`. */
async function watch(page: Page): Promise<() => Promise<{ frames: number; dropped: number; longest: number; longTasks: number; blockedMs: number }>> {
  await page.evaluate(() => {
    const seen = ((globalThis as any).seen = { frames: 0, dropped: 0, longest: 0, longTasks: 0, blockedMs: 0, isOver: false });
    let last: number | undefined;
    const frame = (now: number) => {
      if (seen.isOver) return;
      if (last !== undefined) {
        const took = now - last;
        seen.frames++;
        seen.dropped += Math.max(0, Math.round(took / (1_000 / 60)) - 1);
        seen.longest = Math.max(seen.longest, took);
      }
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) {
        seen.longTasks++;
        seen.blockedMs += duration - 50;
      }
    }).observe({ type: "longtask" });
  });
  return () => page.evaluate(() => (((globalThis as any).seen.isOver = true), (globalThis as any).seen));
}

const median = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;

test("the daemon delivers as much with the console open, and the console goes on drawing", async () => {
  const chromium = await browser();
  yieldToOthers();
  const daemon = await Daemon.start();
  const rounds: any[] = [];
  try {
    await load(daemon.url);
    for (let round = 0; round < ROUNDS; round++) {
      const result: any = {};
      const turns = round % 2 === 0 ? ["without", "with"] : ["with", "without"];
      for (const turn of turns) {
        if (turn === "without") {
          result.without = await load(daemon.url);
          continue;
        }
        const opened = await Console.open(chromium, daemon.url, "#/live?channel=inventory-change");
        await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
        const read = await watch(opened.page);
        result.with = await load(daemon.url);
        result.page = await read();
        result.shown = await opened.page.locator(".status").textContent();
        await opened.close();
        await expect.poll(() => daemon.subscribers("inventory-change")).toBe(0);
      }
      rounds.push(result);
    }
  } finally {
    await mkdir(FOLDER, { recursive: true });
    await writeFile(`${FOLDER}/load.json`, JSON.stringify(rounds, null, 2));
    await chromium.close();
    await daemon.kill();
  }
  const ratios = rounds.map((one) => one.with.deliveries_per_s / one.without.deliveries_per_s);
  const dropped = rounds.map(({ page }) => page.dropped / (page.frames + page.dropped));
  console.log(rounds.map((one, index) => `${(100 * ratios[index]!).toFixed(2)} % of the deliveries; ${one.page.frames} frames, ${(100 * dropped[index]!).toFixed(1)} % dropped, longest ${Math.round(one.page.longest)} ms; p50 ${one.without.p50_us} and ${one.with.p50_us} µs, p99 ${one.without.p99_us} and ${one.with.p99_us} µs; ${one.page.longTasks} long tasks; ${one.shown}`).join("\n"));
  expect(median(ratios)).toBeGreaterThan(0.95);
  for (const { page } of rounds) expect(page.longest).toBeLessThan(1_000);
}, 600_000);
