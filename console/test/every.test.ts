// Every view: with and without authentication, at the daemon and below a path of nginx, light and dark.
//
// Each has what it is for on it, no finding of axe, no violation of the policy, no request outside of the daemon's address.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { Authority, BIG, browser, Console, Daemon, OWN, seed } from "./console.js";
import { nginx } from "./nginx.js";

let chromium: Browser;
let open: { url: string; position: string; stop: () => Promise<void> };
let locked: { url: string; position: string; operator: string; stop: () => Promise<void> };

beforeAll(async () => {
  const [started, daemon, authority] = await Promise.all([browser(), Daemon.start(["--schemas", OWN]), Authority.start("--schemas", OWN)]);
  chromium = started;
  open = { url: daemon.url, position: await seed(daemon.url), stop: () => daemon.kill() };
  const { operator } = authority;
  locked = { url: authority.daemon.url, operator, position: await seed(authority.daemon.url, operator), stop: () => authority.stop() };
});
afterAll(async () => {
  await chromium?.close();
  await open?.stop();
  await locked?.stop();
});

const ways = ["no authentication", "a token"].flatMap((access) => ["the daemon", "nginx at /bus/"].flatMap((at) => (["light", "dark"] as const).map((scheme) => [access, at, scheme] as const)));

test.each(ways)("every view: %s, %s, %s", async (access, at, colorScheme) => {
  const { url: direct, position } = access === "a token" ? locked : open;
  const url = at === "the daemon" ? direct : await nginx(direct);
  const opened = await Console.open(chromium, url, access === "a token" ? `#token=${locked.operator}` : "", { colorScheme });
  const { page } = opened;
  expect(await page.evaluate(() => matchMedia("(prefers-color-scheme: dark)").matches)).toBe(colorScheme === "dark");
  const offers = async (path: string) => (await fetch(`${direct}${path}`, { headers: access === "a token" ? { authorization: `Bearer ${locked.operator}` } : {} })).status === 200;
  const connections = (await offers("/v1/connections")) ? /websocket|Nobody is connected/ : "There is no /v1/connections at this address.";
  const views = [
    ["#/live", "Choose what to follow"],
    ["#/live?channel=price-change&since=start", BIG],
    ["#/history?channel=price-change", BIG],
    [`#/event?channel=price-change&position=${position}`, BIG],
    ["#/publish?type=price-change", "price.amount"],
    ["#/channels", "inventory-change"],
    ["#/types?type=price-change", "The price of a product changed"],
    ["#/connections", connections],
    ["#/nodes", "can publish and receive"],
  ] as const;
  for (const [hash, shows] of views) {
    await opened.go(hash);
    if (hash.startsWith("#/publish")) await page.locator('[id="field/data/price/amount"]').waitFor();
    else await page.getByText(shows).first().waitFor();
    await opened.isQuiet();
    expect(await page.getByText(/The daemon wants a token|The token does not allow this/).count(), hash).toBe(0);
    await opened.isAccessible();
  }
  expect(opened.requests.map((request) => request.url()).filter((asked) => !asked.startsWith(`${url}/`))).toEqual([]);
  await opened.close();
});
