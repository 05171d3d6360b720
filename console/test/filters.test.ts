// The filter in the address of a view, and what is copied from the page to go on elsewhere.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { BINARY } from "../../clients/typescript/test/daemon.js";
import { browser, Console, Daemon } from "./console.js";

let chromium: Browser;
let daemon: Daemon;

beforeAll(async () => {
  [chromium, daemon] = await Promise.all([browser(), Daemon.start()]);
  const orders = ["pending", "shipped"].map((newStatus) => ({ type: "order-status", data: { orderId: newStatus, newStatus } }));
  await daemon.publish([...orders, { type: "data-update", data: { resource: "page", id: "start", action: "update" } }]);
});
afterAll(async () => {
  await chromium?.close();
  await daemon?.kill();
});

const TITLE = "The filter in the address cannot be used";

test.each([
  ['{"newStatus":"shipped"}', "A filter names a channel"],
  ['{"order-statu":{"newStatus":"shipped"}}', "It has conditions for “order-statu”, which is not among the chosen channels: order-status"],
  ['{"order-status":{"newStatus":"shipped"}', "This is no JSON"],
  ['["order-status"]', "A filter names a channel"],
])("a filter that cannot be used is an error, and nothing is followed or read: %s", async (where, why) => {
  const address = (view: string) => `#/${view}?channel=order-status&since=start&where=${encodeURIComponent(where)}`;
  const opened = await Console.open(chromium, daemon.url, address("live"));
  const { page, rows } = opened;
  await page.getByText(TITLE).waitFor();
  await page.getByText(why).waitFor();
  await opened.isAccessible();
  await opened.view("History");
  await opened.go(address("history"));
  await page.getByText(TITLE).waitFor();
  await opened.isQuiet();
  expect(opened.subscribed).toBe(0);
  const asked = () => opened.requests.filter((request) => /\/v1\/(events|stream|ws)/.test(request.url()));
  expect(asked()).toEqual([]);
  // Another choice of channels keeps it.
  await page.getByText("Channels: 1 of").click();
  await page.getByRole("checkbox", { name: "data-update" }).check();
  await page.keyboard.press("Escape");
  expect(new URL(page.url()).hash).toContain("where=");
  expect(asked()).toEqual([]);
  await page.getByRole("button", { name: "Remove the filter" }).click();
  await expect.poll(() => rows.count()).toBe(3);
  expect(new URL(page.url()).hash).not.toContain("where=");
  await opened.close();
});

test("a filter whose channel is chosen afterwards is used", async () => {
  const opened = await Console.open(chromium, daemon.url, `#/live?channel=data-update&since=start&where=${encodeURIComponent('{"order-status":{"newStatus":"shipped"}}')}`);
  const { page, rows } = opened;
  await page.getByText(TITLE).waitFor();
  await page.getByText("Channels: 1 of").click();
  await page.getByRole("checkbox", { name: "order-status" }).check();
  await page.getByText("is shipped").waitFor();
  await expect.poll(() => rows.count()).toBe(2);
  await opened.close();
});

/** What a choice of a menu copies. */
async function copied(page: Page, menu: string, choice: string): Promise<string> {
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByText(menu, { exact: true }).click();
  await page.getByRole("button", { name: choice, exact: true }).click();
  return page.evaluate(() => navigator.clipboard.readText());
}

test("Python gets the filter of each channel", async () => {
  const where = encodeURIComponent('{"order-status":{"newStatus":"shipped"}}');
  const opened = await Console.open(chromium, daemon.url, `#/live?channel=order-status&channel=data-update&since=start&where=${where}`);
  const { page, rows } = opened;
  await expect.poll(() => rows.count()).toBe(2);
  const code = await copied(page, "Copy as…", "Python");
  // Run with a client that prints what it is asked for, in place of the network.
  const stub = `import builtins, sys, types, json
# Two threads print: a line is one write, so that they do not mix.
builtins.print = lambda value: sys.stdout.write(f"{value}\\n")
class Stream:
    def __init__(self, method, url, timeout, params): self.params = params
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def iter_lines(self): return ["data: " + json.dumps(self.params)]
sys.modules["httpx"] = types.SimpleNamespace(stream=Stream)
`;
  const { stdout } = await promisify(execFile)("python3", ["-c", stub + code]);
  expect(stdout.trim().split("\n").sort()).toEqual(["{'channel': 'data-update', 'since': 'start'}", `{'channel': 'order-status', 'since': 'start', 'where': '{"newStatus":"shipped"}'}`]);
  await opened.close();
});

test("a command with attributes publishes the message as it is, in a plain shell", async () => {
  const reason = "two\nlines, and a \\ 'quote'";
  await daemon.publish([{ type: "inventory-change", source: "/warehouse", subject: "s-1", data: { productId: "p-1", oldQuantity: 2, newQuantity: 1, reason } }]);
  const opened = await Console.open(chromium, daemon.url, "#/live?channel=inventory-change&since=start");
  const { page, rows } = opened;
  await rows.first().click();
  const command = await copied(page, "Copy…", "As a command");
  await promisify(execFile)("/bin/sh", ["-c", command.replace("tidings publish", `'${BINARY}' publish`)]);
  await expect.poll(() => rows.count()).toBe(2);
  const { events } = (await (await fetch(`${daemon.url}/v1/events?channel=inventory-change`)).json()) as { events: { event: { data: unknown; subject: string } }[] };
  expect(events[1]!.event.data).toEqual(events[0]!.event.data);
  expect(events[1]!.event.subject).toBe("s-1");
  await opened.close();
});
