// The console under load: 10,000 events a second while its Live view is open. `make bench-console`.
//
// Rounds take turns on one daemon: without a browser, with the console open at a view that does nothing, and with Live. So all
// meet the same machine. `tidings bench` publishes and counts; the page counts its frames and long tasks. Writes
// target/console/load.json. What must hold: the daemon delivers within 5 % as much with Live as without a browser, and the view
// goes on drawing.
//
// Publisher, subscribers, daemon and browser share the processors of one machine, at the same priority. A daemon that gets less
// of them puts more events into each write. So its processor time for each delivery, which /proc has, is told beside the
// deliveries, and that of the browser, too.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import type { CDPSession, Page } from "playwright-core";
import { expect, test } from "vitest";

import { BINARY } from "../../clients/typescript/test/daemon.js";
import { browser, Console, Daemon } from "../test/console.js";

const [RATE, SECONDS, SUBSCRIBERS] = [10_000, 8, 5];
const ROUNDS = Number(process.env["ROUNDS"] ?? 5);
const FOLDER = fileURLToPath(new URL("../../target/console", import.meta.url));

/** One round of `tidings bench`, with the daemon's processor time in microseconds for each delivery of it. */
async function load({ url, pid }: Daemon): Promise<any> {
  const args = ["bench", "--url", url, "--rate", `${RATE}`, "--seconds", `${SECONDS}`, "--connections", `${SUBSCRIBERS}`, "--json"];
  const before = processorTime(pid);
  // An exit with 1 is a lost event: the round is not judged.
  const { stdout } = await promisify(execFile)(BINARY, args);
  const result = JSON.parse(stdout);
  return { ...result, daemon_us: (1e6 * (processorTime(pid) - before)) / (result.deliveries_per_s * SECONDS) };
}

/** The processor time of a process in seconds, in user and kernel mode. NaN where there is no /proc. */
function processorTime(pid: number): number {
  if (process.platform !== "linux") return NaN;
  // The name of the program, in parentheses, may have spaces. The kernel counts 100 ticks a second for programs.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** The processor time of all processes of a browser in seconds. */
async function browserTime(session: CDPSession): Promise<number> {
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  return processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0);
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
  const session = await chromium.newBrowserCDPSession();
  const daemon = await Daemon.start();
  const rounds: any[] = [];
  try {
    await load(daemon);
    /** A round with a page of the console. */
    const beside = async (hash: string, subscribers: number) => {
      const opened = await Console.open(chromium, daemon.url, hash);
      await expect.poll(() => daemon.subscribers("inventory-change")).toBe(subscribers);
      const before = await browserTime(session);
      const read = await watch(opened.page);
      const result = await load(daemon);
      const page = await read();
      const browser_s = (await browserTime(session)) - before;
      const shown = await opened.page.locator(".status").allTextContents();
      await opened.close();
      await expect.poll(() => daemon.subscribers("inventory-change")).toBe(0);
      return { ...result, page: { ...page, dropped: page.dropped / (page.frames + page.dropped) }, browser_s, shown: shown.join() };
    };
    const turns: Record<string, () => Promise<any>> = {
      without: () => load(daemon),
      idle: () => beside("#/event", 0),
      live: () => beside("#/live?channel=inventory-change", 1),
    };
    for (let round = 0; round < ROUNDS; round++) {
      const result: any = {};
      const names = Object.keys(turns);
      for (const name of [...names.slice(round % 3), ...names.slice(0, round % 3)]) result[name] = await turns[name]!();
      rounds.push(result);
    }
  } finally {
    await mkdir(FOLDER, { recursive: true });
    await writeFile(`${FOLDER}/load.json`, JSON.stringify(rounds, null, 2));
    await chromium.close();
    await daemon.kill();
  }
  const ratios = rounds.map(({ live, without }) => live.deliveries_per_s / without.deliveries_per_s);
  const ms = (us: number) => `${(us / 1_000).toFixed(1)} ms`;
  for (const [index, { without, idle, live }] of rounds.entries()) {
    const each = (show: (one: any) => string) => [without, idle, live].map(show).join(", ");
    const pages = (show: (one: any) => string) => [idle, live].map(show).join(", ");
    console.log(`round ${index + 1}: without a browser, with an idle page, with Live
  ${(100 * ratios[index]!).toFixed(2)} % of the deliveries: ${each((one) => String(one.deliveries_per_s))} a second
  ${each((one) => `${one.daemon_us.toFixed(1)} µs`)} of the daemon for each; p50 ${each((one) => ms(one.p50_us))}; p99 ${each((one) => ms(one.p99_us))}
  dropped frames ${pages(({ page }) => `${(100 * page.dropped).toFixed(1)} %`)}; longest ${pages(({ page }) => `${Math.round(page.longest)} ms`)}; long tasks ${pages(({ page }) => String(page.longTasks))}
  ${pages(({ browser_s }) => `${browser_s.toFixed(1)} s`)} of the browser; ${live.shown}`);
  }
  expect(median(ratios)).toBeGreaterThan(0.95);
  for (const { live } of rounds) expect(live.page.longest).toBeLessThan(1_000);
}, 900_000);
