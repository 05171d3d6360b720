// Opens the console of a daemon in a real browser, and watches what no page of it may do.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import type { Browser, BrowserContext, BrowserContextOptions, Locator, Page, Request } from "playwright-core";
import { expect } from "vitest";

import { launch } from "../../clients/typescript/test/chromium.js";
import { Daemon } from "../../clients/typescript/test/daemon.js";

export { Daemon };
export { Authority } from "../../clients/typescript/test/authority.js";

/** The folder of the own type `price-change`. */
export const OWN = fileURLToPath(new URL("../../clients/typescript/test/own", import.meta.url));
/** 2^53 + 1, which is no double. */
export const BIG = "9007199254740993";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The browser of a test file. */
export async function browser(): Promise<Browser> {
  return (await launch()) as unknown as Browser;
}

/** Gives the browser the files of dist/ instead of the daemon's: with `CONSOLE_DIST=1`, a change is tried without cargo. */
async function serve(context: BrowserContext, url: string): Promise<void> {
  // The browser cannot tell that such a page comes from this machine.
  await context.grantPermissions(["local-network-access"]);
  await context.route(`${url}/`, async (route) => {
    const response = await route.fetch({ headers: { ...route.request().headers(), accept: "text/html" } });
    await route.fulfill({ response, path: fileURLToPath(new URL("../dist/index.html", import.meta.url)) });
  });
  await context.route(`${url}/console/*`, async (route) => {
    const file = new URL(route.request().url()).pathname.split("/").at(-1)!;
    await route.fulfill({ path: fileURLToPath(new URL(`../dist/console/${file}`, import.meta.url)) });
  });
}

/** The input of a place in the data of an event. */
export const field = (page: Page, pointer: string): Locator => page.locator(`[id="field/data/${pointer}"]`);

/** A page with the console. */
export class Console {
  readonly page: Page;
  /** What the page asked for. */
  readonly requests: Request[] = [];
  /** How many subscriptions the daemon has confirmed. */
  subscribed = 0;
  readonly #url: string;
  readonly #mistakes: string[] = [];

  private constructor(page: Page, url: string) {
    this.page = page;
    this.#url = url;
    const { origin } = new URL(url);
    page.on("request", (request) => {
      this.requests.push(request);
      const url = request.url();
      if (!url.startsWith(`${origin}/`) && !/^(data|blob):/.test(url)) this.#mistakes.push(`a request to another origin: ${url}`);
    });
    page.on("websocket", (socket) => {
      if (!socket.url().startsWith(origin.replace("http", "ws"))) this.#mistakes.push(`a WebSocket to another origin: ${socket.url()}`);
      socket.on("framereceived", ({ payload }) => void (String(payload).startsWith('{"type":"subscribed"') && this.subscribed++));
    });
    page.on("pageerror", (error) => this.#mistakes.push(`an error: ${error.stack}`));
    page.on("console", (message) => {
      // The browser itself notes each answer that is no 2xx, and each connection to a daemon that is gone.
      const isBrowser = /^Failed to load resource|^WebSocket connection .*ERR_CONNECTION_(REFUSED|RESET)/.test(message.text());
      if (message.type() === "error" && !isBrowser) this.#mistakes.push(`on the console: ${message.text()}`);
    });
  }

  /** Opens the console at `url`, the address of the daemon, with the part behind the `#`. */
  static async open(browser: Browser, url: string, hash = "", options: BrowserContextOptions = {}): Promise<Console> {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
    context.setDefaultTimeout(15_000);
    if (process.env["CONSOLE_DIST"]) await serve(context, url);
    const page = await context.newPage();
    const opened = new Console(page, url);
    await page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => console.error(`forbidden by the policy: ${event.violatedDirective} ${event.blockedURI}`));
    });
    await opened.go(hash);
    return opened;
  }

  /** Goes to the part behind the `#`. */
  async go(hash: string): Promise<void> {
    await this.page.goto(`${this.#url}/${hash}`);
    await this.page.locator("h1").waitFor();
  }

  /** Opens a view by its link. */
  async view(name: string): Promise<void> {
    await this.page.getByRole("navigation", { name: "Views" }).getByRole("link", { name, exact: true }).click();
    await this.page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
  }

  /** The rows of the list of events. */
  get rows(): Locator {
    return this.page.locator(".row");
  }

  /** Waits until the Live view follows what was chosen. */
  async isFollowing(): Promise<void> {
    await this.page.getByText("following", { exact: true }).waitFor();
  }

  /** Waits until nothing on the page says that it asks the daemon. */
  async isQuiet(): Promise<void> {
    await expect.poll(() => this.page.getByText("Asking the daemon…").count()).toBe(0);
  }

  /** What axe finds wrong with the page as it is now: nothing. */
  async isAccessible(): Promise<void> {
    const has = await this.page.evaluate(() => "axe" in globalThis);
    if (!has) await this.page.evaluate(AXE);
    const found = await this.page.evaluate(async () => {
      const { violations } = await (globalThis as any).axe.run(document);
      return violations.map(({ id, nodes }: any) => `${id}: ${nodes.map(({ html, failureSummary }: any) => `${html}\n${failureSummary}`).join("\n")}`);
    });
    expect(found).toEqual([]);
  }

  /** Hides the tab, or shows it again, as far as the page can tell. */
  async setVisible(visible: boolean): Promise<void> {
    await this.page.evaluate((state) => {
      Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
      Object.defineProperty(document, "hidden", { configurable: true, get: () => state === "hidden" });
      document.dispatchEvent(new Event("visibilitychange"));
    }, visible ? "visible" : "hidden");
  }

  /** Closes the page. Fails if it did what it may not. */
  async close(): Promise<void> {
    await this.page.context().close();
    expect(this.#mistakes).toEqual([]);
  }
}

/** Events that give every view something to show. Returns the position of the last price change. */
export async function seed(url: string, token = ""): Promise<string> {
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  const post = async (body: string) => {
    const response = await fetch(`${url}/v1/events`, { method: "POST", headers, body });
    if (response.status !== 202) throw new Error(await response.text());
    return (await response.json()) as { accepted: { id: string; position: string }[] };
  };
  const statuses = ["pending", "confirmed", "processing", "shipped", "delivered"];
  await post(
    JSON.stringify(Array.from({ length: 40 }, (_, index) => [
      { type: "order-status", source: "/shop/checkout", data: { orderId: `o-${1000 + (index % 9)}`, oldStatus: statuses[index % 4], newStatus: statuses[(index % 4) + 1], customerId: `u-${index % 5}` } },
      { type: "inventory-change", source: "/warehouse", data: { productId: `p-${index % 7}`, variantId: "blue", oldQuantity: 100 - index, newQuantity: 99 - index, reason: index % 11 === 0 ? `counted again by hand ${"and again ".repeat(30)}` : "sale" } },
    ]).flat()),
  );
  const price = async (amount: string, more: string) => {
    const { accepted } = await post(`{"type":"price-change","source":"/pricing","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","data":{"sku":"p-1","price":{"amount":${amount},"currency":"EUR"}${more}}}`);
    return accepted[0]!;
  };
  await price("9007199254740991", "");
  const { id, position } = await price(BIG, ',"was":{"amount":1999,"currency":"EUR"},"labels":{"season":"winter","note":"<b>bold?</b> & é ✓"},"channels":["web","shop"],"range":["2026-11-29",null],"reason":{"kind":"match","rival":"another shop"}');
  await post(JSON.stringify([{ type: "cache-invalidate", source: "/pricing", causationid: id, data: { tags: ["product:p-1", "catalogue"], reason: "price change" } }]));
  return position;
}
