// A customer and a clerk in a browser, while an instance, the daemon and Redis are killed.
//
// Each of them comes back. In the end both sides of the page show what is in the database, and so does each instance's cache. The
// page is never loaded again. Pictures of the run go to target/shop/.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";

import type { Browser, Page } from "playwright-core";

import type { Shop } from "../server/shop.ts";
import { Side } from "./people.ts";
import { launch, Redis, RunningShop, sleep, until } from "./programs.ts";

const PICTURES = fileURLToPath(new URL("../../../target/shop/", import.meta.url));
const PRODUCTS = ["desk-lamp", "tea-kettle", "notebook", "headphones", "backpack", "espresso-cup"];

let browser: Browser;
before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  browser = await launch();
});
after(() => browser.close());

/** The page in a browser, with what a test needs to play with it. */
class Play {
  readonly a: Side;
  readonly b: Side;
  readonly #page: Page;
  readonly #truth: Shop;
  readonly #name: string;
  #pictures = 0;

  private constructor(page: Page, truth: Shop, name: string) {
    this.#page = page;
    this.#truth = truth;
    this.#name = name;
    this.a = new Side(page, "A");
    this.b = new Side(page, "B");
  }

  static async open(shop: RunningShop, name: string): Promise<Play> {
    const page = await browser.newPage({ viewport: { width: 1440, height: 800 }, colorScheme: "light" });
    page.on("pageerror", (error) => assert.fail(error));
    await page.goto(shop.url);
    const play = new Play(page, shop.openDatabase(), name);
    await until("both sides are live", async () => (await play.isLive("A")) && (await play.isLive("B")));
    // Gone if the page is loaded again.
    await page.evaluate(() => Object.assign(globalThis, { isFirst: true }));
    return play;
  }

  async isLive(name: "A" | "B"): Promise<boolean> {
    const state = await this[name === "A" ? "a" : "b"].state();
    return state.join() === "instance up,live";
  }

  async kill(process: string): Promise<void> {
    await this.#page.getByRole("button", { name: `kill ${process}` }).click();
  }

  /** Customers who buy at random. */
  async letCustomersBuy(isWanted: boolean): Promise<void> {
    await this.#page.getByLabel("customers buy").setChecked(isWanted);
  }

  async picture(what: string): Promise<void> {
    await this.#page.screenshot({ path: `${PICTURES}${this.#name}-${++this.#pictures}-${what}.png` });
  }

  async setColorScheme(colorScheme: "dark" | "light"): Promise<void> {
    await this.#page.emulateMedia({ colorScheme });
  }

  /** Waits until nothing is under way, and then until both sides show what is in the database. */
  async showsTheTruth(): Promise<void> {
    await this.letCustomersBuy(false);
    await until("both sides are live again", async () => (await this.isLive("A")) && (await this.isLive("B")));
    for (const product of PRODUCTS) {
      await this.a.look(product);
      await this.b.look(product);
      for (const side of [this.a, this.b]) {
        await settles(async () => assert.deepEqual(await this.#shown(side), this.#true(product)));
      }
    }
    // What has just been shown is still so: there is no late answer that shows something older.
    await sleep(300);
    for (const side of [this.a, this.b]) assert.deepEqual(await this.#shown(side), this.#true(PRODUCTS.at(-1)!));
    assert.equal(await this.#page.evaluate(() => "isFirst" in globalThis), true, "the page was loaded again");
  }

  async #shown(side: Side): Promise<unknown> {
    const stock = await Promise.all(PRODUCTS.map(async (id) => [id, await side.stock(id)]));
    return { stock, page: await side.productPage(), orders: await side.orders(), dashboard: await side.dashboard() };
  }

  #true(product: string): unknown {
    const stock = this.#truth.products().map(({ id, stock }) => [id, stock]);
    const page = this.#truth.product(product)!;
    const orders = this.#truth.orders().map(({ id, status }) => [id, status]);
    return { stock, page: [page.id, page.stock, page.sold], orders, dashboard: this.#truth.dashboard() };
  }

  async close(): Promise<void> {
    this.#truth.close();
    await this.#page.close();
  }
}

/** Waits until `check` does not throw any more. */
async function settles(check: () => Promise<void>): Promise<void> {
  for (const end = performance.now() + 20_000; ; await sleep(50)) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > end) throw error;
    }
  }
}

async function play(name: string, env: NodeJS.ProcessEnv, act: (play: Play) => Promise<void>): Promise<void> {
  const shop = await RunningShop.start(env);
  try {
    const play = await Play.open(shop, name);
    try {
      await act(play);
      await play.close();
    } catch (error) {
      await play.picture("failed");
      throw error;
    }
  } catch (error) {
    console.error(shop.output);
    throw error;
  } finally {
    await shop.stop();
  }
}

/** A sale at A, whose order a clerk at B sends off: each side shows what the other did. */
async function sell({ a, b }: Play, product: string): Promise<void> {
  const [earlier] = await a.ownOrder();
  await a.buy(product);
  const id = await until("the customer at A sees the order", async () => (await a.ownOrder()).find((id) => id !== earlier && id.startsWith("order-")));
  await until("the order is at B", async () => (await b.orders()).some(([other]) => other === id));
  await b.setStatus(id, "shipped");
  await until("the customer at A sees it", async () => (await a.ownOrder()).join() === `${id},shipped`);
}

test("what a customer does at one instance is at both without a reload, and so is what a clerk does", async () => {
  await play("memory", {}, async (play) => {
    const { a, b } = play;
    await play.picture("start");
    await a.look("tea-kettle");
    await b.look("tea-kettle");
    const [stock, { sold }] = [await b.stock("tea-kettle"), await b.dashboard()];
    await sell(play, "tea-kettle");
    for (const side of [a, b]) {
      await until("the stock is right", async () => (await side.stock("tea-kettle")) === stock - 1);
      await until("the product page is right", async () => (await side.productPage())[1] === stock - 1);
      await until("the dashboard is right", async () => (await side.dashboard()).sold === sold + 1);
    }
    await b.restock("desk-lamp");
    await until("the clerk's pieces are at A", async () => (await a.stock("desk-lamp")) === 10);
    // Each event is at both sides, and behind it what it made out of date.
    for (const side of [a, b]) {
      const types = await side.events();
      assert.deepEqual(types.slice(0, 2).map((type) => type.replace("↳ ", "")).sort(), ["cache-invalidate", "inventory-change"]);
      assert.equal(types.filter((type) => type === "↳ cache-invalidate").length, 4);
    }
    await play.picture("sold");
    await play.setColorScheme("dark");
    await play.picture("sold-dark");
    await play.setColorScheme("light");

    // The daemon is killed, and with it the log that it has in memory. Sales go on.
    await play.kill("tidings");
    await until("the page notices", async () => !(await play.isLive("A")));
    await a.buy("notebook");
    await b.buy("notebook");
    await b.restock("backpack");
    await play.picture("without-daemon");
    await play.showsTheTruth();
    await play.picture("end");
  });
});

test("in the end both sides show the truth, with Redis, while an instance, Redis and the daemon are killed", async () => {
  const redis = await Redis.start();
  try {
    await play("redis", { BROKER: redis.url }, async (play) => {
      const { a, b } = play;
      await play.letCustomersBuy(true);
      await sell(play, "espresso-cup");

      await play.kill("shop-a");
      await until("the page notices", async () => (await a.state()).includes("instance down"));
      // It goes on as soon as the instance is back, and is done once.
      await a.buy("backpack");
      await b.buy("backpack");
      await b.restock("headphones");
      await play.picture("instance-down");
      await until("the instance is back", () => play.isLive("A"));

      await redis.kill();
      await a.buy("tea-kettle");
      await b.buy("tea-kettle");
      await until("events wait for Redis", async () => (await b.state()).some((text) => text.endsWith("events wait")));
      await play.picture("without-redis");
      await redis.again();
      await until("nothing waits any more", () => play.isLive("B"));

      await play.kill("tidings");
      await until("the page notices", async () => !(await play.isLive("B")));
      await b.buy("notebook");
      await play.kill("shop-b");
      await a.restock("espresso-cup");
      await play.showsTheTruth();
      await sell(play, "headphones");
      await play.showsTheTruth();
      await play.picture("end");
    });
  } finally {
    await redis.kill();
  }
});

const WAYS_TO_END: Record<string, { through?: string[]; end: (shop: RunningShop) => Promise<void> }> = {
  "Ctrl-C": { end: (shop) => shop.interrupt() },
  "the death of the start program": { end: (shop) => shop.end("SIGKILL") },
  "the death of its parent": { through: ["/bin/sh", "-c", '"$@"; true', "sh"], end: (shop) => shop.end("SIGKILL") },
};

for (const [what, { through = [], end }] of Object.entries(WAYS_TO_END)) {
  test(`${what} ends all processes, and nothing is left`, async () => {
    const shop = await RunningShop.start({}, through);
    try {
      const programs = ["tidings serve", "server/main.ts", "run/janitor.mjs"];
      for (const program of programs) assert.match(shop.processes().join("\n"), new RegExp(program));
      await end(shop);
      await until("the end of all processes", () => shop.processes().length === 0);
      assert.deepEqual(shop.folders(), []);
    } finally {
      await shop.stop();
    }
  });
}
