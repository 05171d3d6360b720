// A narrow window, and names as long as they may be: nothing is cut off where it cannot be reached.

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { browser, Console, Daemon } from "./console.js";

const FOLDER = fileURLToPath(new URL("../../target/console", import.meta.url));
const LONG = "warehouse-synchronisation-of-the-north-western-region-was-begun1";

let chromium: Browser;
let daemon: Daemon;
let folder: string;

beforeAll(async () => {
  await mkdir(FOLDER, { recursive: true });
  folder = await mkdtemp(join(tmpdir(), "tidings-narrow-"));
  await writeFile(join(folder, `${LONG}.schema.json`), JSON.stringify({ type: "object", required: ["id"], properties: { id: { type: "string" } } }));
  [chromium, daemon] = await Promise.all([browser(), Daemon.start(["--schemas", folder])]);
  await daemon.publish([{ type: LONG, data: { id: "x" } }]);
});
afterAll(async () => {
  await chromium?.close();
  await daemon?.kill();
  await rm(folder, { recursive: true, force: true });
});

test("no view is wider than a narrow window", async () => {
  expect(LONG).toHaveLength(64);
  const opened = await Console.open(chromium, daemon.url, "", { viewport: { width: 390, height: 844 } });
  const { page } = opened;
  for (const hash of ["#/live", `#/live?channel=${LONG}&since=start`, "#/history", `#/history?channel=${LONG}`, "#/event", `#/event?channel=${LONG}&position=x:1`, `#/publish?type=${LONG}`, "#/channels", `#/types?type=${LONG}`]) {
    await opened.go(hash);
    await opened.isQuiet();
    if (hash.startsWith("#/live?")) await opened.rows.first().waitFor();
    // What can be scrolled by itself may be wider: tables and code.
    const wide = await page.evaluate(() =>
      [...document.querySelectorAll("main *")]
        .filter((part) => !part.parentElement?.closest(".scrolls, pre, .sr") && part.getBoundingClientRect().right > innerWidth + 0.5)
        .map((part) => `${part.outerHTML.slice(0, 80)} ends at ${Math.round(part.getBoundingClientRect().right)}`),
    );
    expect(wide, hash).toEqual([]);
    await page.screenshot({ path: join(FOLDER, `narrow${hash.replaceAll(/[^a-z]+/g, "-").slice(0, 20)}.png`) });
  }
  await opened.close();
});

test.each([390, 1440])("Channels shows figures beside long names, and that there are more, at %i px", async (width) => {
  const opened = await Console.open(chromium, daemon.url, "#/channels", { viewport: { width, height: 844 } });
  const { page } = opened;
  await page.getByRole("row", { name: new RegExp(LONG) }).waitFor();
  const table = page.getByRole("group", { name: "Channels" });
  const right = (text: string) => table.getByRole("columnheader", { name: text, exact: true }).evaluate((cell) => cell.getBoundingClientRect().right);
  const edge = await table.evaluate((table) => table.getBoundingClientRect().right);
  expect(await right(width === 390 ? "head" : "refused")).toBeLessThan(edge);
  /** The colour of the table's last pixels at its right edge, in the middle of its height. */
  const shade = async () => {
    const box = (await table.boundingBox())!;
    return (await page.screenshot({ clip: { x: box.x + box.width - 3, y: box.y + box.height / 2, width: 1, height: 1 } })).toString("base64");
  };
  await page.screenshot({ path: join(FOLDER, `channels-${width}.png`) });
  const before = await shade();
  const isCut = await table.evaluate((table) => table.scrollWidth > table.clientWidth);
  await table.evaluate((table) => table.scrollTo({ left: table.scrollWidth }));
  // The shadow is there as long as there is more.
  if (isCut) await expect.poll(async () => (await shade()) !== before).toBe(true);
  expect(isCut).toBe(width === 390);
  await opened.isAccessible();
  await opened.close();
});
