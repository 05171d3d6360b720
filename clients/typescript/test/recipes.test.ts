// The recipes of docs/frameworks.md for other caches, with the real libraries and the real daemon.

import { ApolloClient, ApolloLink, gql, InMemoryCache, Observable } from "@apollo/client";
import { configureStore } from "@reduxjs/toolkit";
import { createApi, fakeBaseQuery } from "@reduxjs/toolkit/query";
import { rolldown } from "rolldown";
import { afterEach, describe, expect, test } from "vitest";

import { fileURLToPath } from "node:url";

import { type Bus, connect } from "../src/index.js";
import { launch } from "./chromium.js";
import { Daemon } from "./daemon.js";
import type { SwrPage } from "./react/swr.js";
import { mistakes, recipe, recipeFile } from "./recipes.js";
import { Site } from "./site.js";

declare global {
  // The globals of the page.
  var swrPage: SwrPage;
  /** What the server answers, and how the page asks. */
  var server: { value: number; requests: number; isHeld: boolean; waiting: (() => void)[] };
}

const started: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of started.splice(0).reverse()) await end();
});

async function startDaemon(port = 0): Promise<Daemon> {
  const daemon = await Daemon.start([], port);
  started.push(() => daemon.kill());
  return daemon;
}

async function startBus(url: string): Promise<Bus> {
  const bus = connect(url, { backoff: { minMs: 10, maxMs: 50 } });
  bus.onError(() => {});
  started.push(() => bus.close());
  return bus;
}

const invalidate = (daemon: Daemon, ...tags: string[]) => daemon.publish([{ type: "cache-invalidate", data: { tags } }]);

/** A server whose answers can be held back after it has read the value. */
class Source {
  value = 1;
  requests = 0;
  isHeld = false;
  #waiting: (() => void)[] = [];

  async read(): Promise<number> {
    const { value } = this;
    this.requests++;
    if (this.isHeld) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return value;
  }

  release(): void {
    this.isHeld = false;
    for (const go of this.#waiting.splice(0)) go();
  }
}

test.each(["swr", "rtk-query", "apollo"])("the recipe %s compiles with every strict setting", async (name) => {
  expect(await mistakes(name)).toBe("");
});

/** What each library is made to do. */
interface Library {
  /** Begins to show `products:1` and `settings`, which has no tags. */
  show(): void;
  /** What is shown of both. */
  shown(): (number | undefined)[];
  readonly product: Source;
  readonly settings: Source;
}

const LIBRARIES: Record<string, (bus: Bus) => Promise<Library>> = {
  "rtk-query": async (bus) => {
    const { bindRtkQuery } = await recipe("rtk-query");
    const [product, settings] = [new Source(), new Source()];
    const api = createApi({
      baseQuery: fakeBaseQuery(),
      tagTypes: ["products"],
      endpoints: (build) => ({
        product: build.query<number, string>({ queryFn: async () => ({ data: await product.read() }), providesTags: (_, __, id) => [{ type: "products", id }] }),
        settings: build.query<number, void>({ queryFn: async () => ({ data: await settings.read() }) }),
      }),
    });
    const store = configureStore({ reducer: { [api.reducerPath]: api.reducer }, middleware: (middleware) => middleware().concat(api.middleware) });
    started.push(bindRtkQuery!(bus, store, api, ["products"]), () => store.dispatch(api.util.resetApiState()));
    return {
      show: () => {
        void store.dispatch(api.endpoints.product.initiate("1"));
        void store.dispatch(api.endpoints.settings.initiate());
      },
      shown: () => [api.endpoints.product.select("1")(store.getState()).data, api.endpoints.settings.select()(store.getState()).data],
      product,
      settings,
    };
  },
  apollo: async (bus) => {
    const { bindApollo } = await recipe("apollo");
    const [product, settings] = [new Source(), new Source()];
    const link = new ApolloLink(({ operationName }) => new Observable((observer) => {
      const source = operationName === "Product" ? product : settings;
      void source.read().then((value) => {
        observer.next({ data: operationName === "Product" ? { product: { __typename: "Product", id: "1", value } } : { settings: value } });
        observer.complete();
      });
    }));
    const client = new ApolloClient({ link, cache: new InMemoryCache() });
    started.push(bindApollo!(bus, client), () => client.stop());
    const queries = [
      client.watchQuery<any>({ query: gql`query Product { product { id value } }`, context: { tags: ["products:1"] } }),
      client.watchQuery<any>({ query: gql`query Settings { settings }` }),
    ];
    return {
      show: () => {
        for (const query of queries) {
          const subscription = query.subscribe(() => {});
          started.push(() => subscription.unsubscribe());
        }
      },
      shown: () => queries.map((query) => query.getCurrentResult().data).map((data) => data?.product?.value ?? data?.settings),
      product,
      settings,
    };
  },
};

describe.each(Object.entries(LIBRARIES))("%s", (_, setup) => {
  test("an invalidation loads what is shown again, and a gap loads everything with tags", async () => {
    let daemon = await startDaemon();
    const bus = await startBus(daemon.url);
    const { show, shown, product, settings } = await setup(bus);
    show();
    await bus.ready();
    await expect.poll(shown).toEqual([1, 1]);
    product.value = settings.value = 2;
    await invalidate(daemon, "products:1");
    await expect.poll(shown).toEqual([2, 1]);
    expect([product.requests, settings.requests]).toEqual([2, 1]);
    product.value = 3;
    const { port } = daemon;
    await daemon.kill();
    daemon = await startDaemon(port);
    await expect.poll(shown).toEqual([3, 1]);
  });

  test("the answer to a first request from before an invalidation does not stay", async () => {
    const daemon = await startDaemon();
    const bus = await startBus(daemon.url);
    const { show, shown, product } = await setup(bus);
    product.isHeld = true;
    show();
    await bus.ready();
    await expect.poll(() => product.requests).toBe(1);
    product.value = 2;
    await invalidate(daemon, "products:1");
    await bus.sync();
    for (let count = 0; count < 3; count++) await new Promise((resolve) => setTimeout(resolve, 0));
    product.release();
    await expect.poll(shown).toEqual([2, 1]);
  });
});

test("SWR: an invalidation and a gap load what is shown again, and the answer to an earlier request is dropped", async () => {
  const dist = fileURLToPath(new URL("../dist/index.js", import.meta.url));
  const build = await rolldown({
    input: fileURLToPath(new URL("./react/swr.ts", import.meta.url)),
    platform: "browser",
    transform: { define: { "process.env.NODE_ENV": '"development"' } },
    resolve: { alias: { recipe: await recipeFile("swr"), "tidings-client": dist } },
    onLog: () => {},
  });
  const { output } = await build.generate({ format: "iife" });
  await build.close();
  let daemon = await startDaemon();
  const [site, browser] = [await Site.start(), await launch()];
  started.push(() => site.stop(), () => browser.close());
  const page = await browser.newPage();
  await page.goto(site.origin);
  await page.addScriptTag({ content: output[0].code });
  const text = () => page.evaluate(() => document.body.lastElementChild!.textContent);

  // The first request is held back.
  await page.evaluate(async (url) => {
    const { h, createRoot, useSWR, connect, bindSwr } = globalThis.swrPage;
    globalThis.server = { value: 1, requests: 0, isHeld: true, waiting: [] };
    const load = async () => {
      const { server } = globalThis;
      const { value } = server;
      server.requests++;
      if (server.isHeld) await new Promise<void>((resolve) => server.waiting.push(resolve));
      return value;
    };
    const bus = connect(url, { backoff: { minMs: 10, maxMs: 50 } });
    bus.onError(() => {});
    bindSwr(bus);
    const options = { dedupingInterval: 60_000, revalidateOnFocus: false };
    const Product = () => String(useSWR(["/products/1", { tags: ["products:1"] }], load, options).data ?? "…");
    createRoot(document.body.appendChild(document.createElement("p"))).render(h(Product));
    await bus.ready();
  }, daemon.url);
  await expect.poll(() => page.evaluate(() => globalThis.server.requests)).toBe(1);
  await page.evaluate(() => Object.assign(globalThis.server, { value: 2, isHeld: false }));
  await invalidate(daemon, "products:1");
  await expect.poll(text).toBe("2");
  await page.evaluate(() => globalThis.server.waiting.splice(0).forEach((go) => go()));

  await page.evaluate(() => void (globalThis.server.value = 3));
  await invalidate(daemon, "products:2");
  await invalidate(daemon, "products:1");
  await expect.poll(text).toBe("3");
  expect(await page.evaluate(() => globalThis.server.requests)).toBe(3);

  await page.evaluate(() => void (globalThis.server.value = 4));
  const { port } = daemon;
  await daemon.kill();
  daemon = await startDaemon(port);
  await expect.poll(text).toBe("4");
});
