// The examples of Publish and Types: those of the daemon, which it accepts whatever the schema of an own type asks for.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { browser, Console, Daemon, field } from "./console.js";

const SCHEMAS = {
  stock: { type: "object", required: ["sku", "until"], properties: { sku: { type: "string", pattern: "^[A-Z]{3}-[0-9]{4}$" }, until: { type: "string", format: "date" } }, additionalProperties: false },
  bounded: {
    type: "object",
    required: ["count", "tags", "either"],
    properties: { count: { type: "integer", exclusiveMinimum: 41, multipleOf: 7 }, tags: { type: "array", minItems: 2, uniqueItems: true, items: { type: "string" } }, either: { oneOf: [{ type: "string", minLength: 30 }, { const: 1.10 }] } },
    if: { properties: { count: { minimum: 100 } } },
    then: { required: ["why"] },
  },
  named: { type: "object", properties: { code: { type: "string" } }, examples: [{ code: "Z-1" }] },
  nothing: { type: "object", required: ["word"], properties: { word: { type: "string", minLength: 2, maxLength: 1 } } },
};

let chromium: Browser;
let daemon: Daemon;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tidings-examples-"));
  for (const [name, schema] of Object.entries(SCHEMAS)) await writeFile(join(folder, `${name}.schema.json`), JSON.stringify(schema));
  [chromium, daemon] = await Promise.all([browser(), Daemon.start(["--schemas", folder])]);
});
afterAll(async () => {
  await chromium?.close();
  await daemon?.kill();
  await rm(folder, { recursive: true, force: true });
});

test("Publish begins with an example that the daemon accepts, of each type that has one", async () => {
  const opened = await Console.open(chromium, daemon.url, "#/publish");
  const { page } = opened;
  for (const type of ["stock", "bounded", "named"]) {
    await opened.go(`#/publish?type=${type}`);
    await page.getByRole("button", { name: "Publish", exact: true }).click();
    await expect.poll(async () => (await page.locator(".done").textContent()) || (await page.locator(".problem").allTextContents()).join()).toContain("Accepted at");
  }
  // To this schema nothing fits. Its form begins empty, and the daemon says what does not fit.
  await opened.go("#/publish?type=nothing");
  expect(await field(page, "word").inputValue()).toBe("");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByRole("button", { name: "/data/word" }).waitFor();
  await opened.close();
});

test("Types shows the example of the documents, and says where there is none", async () => {
  const { components } = (await (await fetch(`${daemon.url}/asyncapi.json`)).json()) as { components: { messages: Record<string, { examples: [{ payload: { data: unknown } }] }> } };
  const opened = await Console.open(chromium, daemon.url, "#/types");
  const { page } = opened;
  for (const type of ["stock", "bounded", "named", "order-status"]) {
    await opened.go(`#/types?type=${type}`);
    const shown = await page.getByLabel("Example", { exact: true }).textContent();
    expect(JSON.parse(shown!)).toEqual(components.messages[`event.${type}`]!.examples[0].payload.data);
  }
  await opened.go("#/types?type=nothing");
  await page.getByText("No example was found that fits").waitFor();
  await opened.isAccessible();
  await opened.close();
});
