// The console of a daemon that wants credentials.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { Authority, browser, Console } from "./console.js";

let chromium: Browser;
let authority: Authority;

beforeAll(async () => {
  [chromium, authority] = await Promise.all([browser(), Authority.start()]);
});
afterAll(async () => {
  await chromium?.close();
  await authority?.stop();
});

test("without a token each view says that the daemon wants one, and a typed one opens them", async () => {
  const opened = await Console.open(chromium, authority.daemon.url);
  const { page } = opened;
  for (const view of ["Live", "History", "Publish", "Channels", "Types", "Connections", "Nodes"]) {
    await opened.view(view);
    await page.getByText(/The daemon wants a token|does not offer it/).first().waitFor();
  }
  await opened.view("Live");
  await opened.isAccessible();
  await page.getByRole("button", { name: "Give a token…" }).click();
  await page.getByLabel("A token or an API key").fill(authority.operator);
  await page.getByRole("button", { name: "Use it" }).click();
  await page.getByRole("button", { name: "order-status" }).click();
  await opened.isFollowing();
  await authority.publish({ type: "order-status", data: { orderId: "with-token", newStatus: "pending" } });
  await opened.rows.filter({ hasText: "with-token" }).waitFor();
  await page.getByRole("button", { name: /^me/ }).waitFor();
  // It outlives a reload, and no URL has it.
  await page.reload();
  await opened.isFollowing();
  expect(opened.requests.filter((request) => request.url().includes(authority.operator))).toEqual([]);
  await opened.view("Publish");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByText("Accepted at").waitFor();
  // Forgotten, it opens nothing.
  await page.getByRole("button", { name: /^me/ }).click();
  await page.getByRole("button", { name: "Forget it" }).click();
  await page.getByText("The daemon wants a token").waitFor();
  await opened.close();
});

test("a link brings the token once, and the address does not keep it", async () => {
  const opened = await Console.open(chromium, authority.daemon.url, `#token=${authority.operator}`);
  const { page } = opened;
  await page.getByRole("button", { name: "order-status" }).waitFor();
  expect(page.url()).toBe(`${authority.daemon.url}/#/live`);
  expect(await page.evaluate(() => history.length)).toBeLessThanOrEqual(2);
  expect(await page.evaluate(() => Object.values(localStorage).join())).not.toContain(authority.operator);
  await opened.close();
});

test("a link whose token cannot be read is said, and the console works without it", async () => {
  const opened = await Console.open(chromium, authority.daemon.url, "#token=%E0%A4%A");
  const { page } = opened;
  await page.getByRole("button", { name: "the link's cannot be read" }).click();
  await page.getByText("it was cut or changed on its way").waitFor();
  expect(page.url()).toBe(`${authority.daemon.url}/#/live`);
  await page.getByLabel("A token or an API key").fill(authority.operator);
  await page.getByRole("button", { name: "Use it" }).click();
  await page.getByRole("button", { name: "order-status" }).waitFor();
  expect(await page.getByText("cannot be read").count()).toBe(0);
  await opened.close();
});

test("a pinned subscriber sees its channels alone", async () => {
  const token = await authority.token("u1", "order-status:customerId=u1", "1h");
  const opened = await Console.open(chromium, authority.daemon.url, `#token=${token}`);
  const { page } = opened;
  await page.getByRole("button", { name: "order-status" }).click();
  await opened.isFollowing();
  await authority.publish(...["u2", "u1"].map((customerId) => ({ type: "order-status", data: { orderId: `of-${customerId}`, newStatus: "pending", customerId } })));
  await opened.rows.filter({ hasText: "of-u1" }).waitFor();
  expect(await opened.rows.filter({ hasText: "of-u2" }).count()).toBe(0);
  await opened.view("Channels");
  await page.getByRole("row", { name: /order-status/ }).waitFor();
  expect(await page.getByRole("columnheader", { name: "retained" }).count()).toBe(0);
  await opened.view("Nodes");
  await page.getByText("The token does not allow this").first().waitFor();
  await opened.isAccessible();
  await opened.close();
});

test("a token that ends or is revoked is named, and a new one goes on", async () => {
  const opened = await Console.open(chromium, authority.daemon.url, `#token=${await authority.token("short", "order-status", "1h")}`);
  const { page } = opened;
  await page.getByRole("button", { name: "order-status" }).click();
  await opened.isFollowing();
  await authority.revoke("short");
  await page.getByText("closed").waitFor();
  await opened.view("Channels");
  await page.getByText("The daemon refused the token").waitFor();
  await page.getByRole("button", { name: /refused/ }).click();
  await page.getByText("The daemon refused this token.").waitFor();
  await opened.isAccessible();
  await page.getByLabel("A token or an API key").fill(authority.operator);
  await page.getByLabel("A token or an API key").press("Enter");
  await page.getByRole("row", { name: /order-status/ }).waitFor();
  await opened.close();
});

test("a publisher is offered no channel that it may not read, and its type to publish", async () => {
  const opened = await Console.open(chromium, authority.daemon.url, `#token=${await authority.publisher("shop", "order-status")}`);
  const { page } = opened;
  await page.getByText("The token may subscribe to no channel. Give another one").waitFor();
  expect(await page.getByRole("button", { name: "order-status" }).count()).toBe(0);
  await page.locator("summary", { hasText: "Channels" }).click();
  await page.getByRole("group", { name: "Channels" }).getByText("The token may subscribe to no channel.").waitFor();
  await opened.view("History");
  await page.getByText("The token may read no channel.").waitFor();
  await opened.view("Publish");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByText("Accepted at").waitFor();
  await opened.close();
});

test("Live says in words for people that the token was revoked, and takes another one", async () => {
  const opened = await Console.open(chromium, authority.daemon.url, `#token=${await authority.token("leaver", "order-status", "1h")}`);
  const { page } = opened;
  await page.getByRole("button", { name: "order-status" }).click();
  await opened.isFollowing();
  await authority.revoke("leaver");
  await page.getByText("The daemon refused the token").waitFor();
  expect(await page.getByText("call connect again").count()).toBe(0);
  await opened.isAccessible();
  await page.getByRole("button", { name: "Give another token…" }).click();
  await page.getByLabel("A token or an API key").fill(authority.operator);
  await page.getByRole("button", { name: "Use it" }).click();
  await opened.isFollowing();
  await opened.close();
});
