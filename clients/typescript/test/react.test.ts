// The hooks in a real browser, with React 18 and 19, and rendered in Node.

import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import type { Browser, Page as BrowserPage, WebSocket } from "playwright-core";
import { rolldown } from "rolldown";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

import { launch } from "./chromium.js";
import { Daemon } from "./daemon.js";
import type { Page } from "./react/page.js";
import { Site } from "./site.js";

declare global {
  // The globals of the page.
  var page: Page;
  var reported: unknown[];
  var root: ReturnType<Page["createRoot"]>;
  var container: HTMLElement;
  var renders: number;
}

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const VERSIONS = { 19: path("../package.json"), 18: path("./react18/package.json") } as const;

let daemon: Daemon;
let site: Site;
let browser: Browser;
const bundles = new Map<string, string>();

/** The page's program with one version of React. `kind` is that of a development or a production build of React. */
async function bundle(version: keyof typeof VERSIONS): Promise<string> {
  const { resolve } = createRequire(VERSIONS[version]);
  const alias = Object.fromEntries(["react", "react-dom/client"].map((name) => [name, resolve(name)]));
  const build = await rolldown({
    input: path("./react/page.ts"),
    platform: "browser",
    transform: { define: { "process.env.NODE_ENV": '"development"' } },
    resolve: { alias: { ...alias, "tidings-client/react": path("../dist/react.js"), "tidings-client": path("../dist/index.js") } },
    // The hooks begin with "use client", which says nothing here.
    onLog: () => {},
  });
  const { output } = await build.generate({ format: "iife" });
  await build.close();
  return output[0].code;
}

beforeAll(async () => {
  for (const version of [18, 19] as const) bundles.set(String(version), await bundle(version));
  daemon = await Daemon.start();
  site = await Site.start();
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  site?.stop();
  await daemon?.kill();
});

/** A page with React, and what it opens and says. */
interface Opened {
  readonly page: BrowserPage;
  readonly sockets: WebSocket[];
  /** The frames that it has sent, without pings. */
  readonly sent: { type: string; channel?: string }[];
  readonly problems: string[];
}

async function open(version: string, html = ""): Promise<Opened> {
  const page = await browser.newPage();
  onTestFinished(() => page.close());
  const [sockets, sent, problems]: [WebSocket[], Opened["sent"], string[]] = [[], [], []];
  page.on("websocket", (socket) => {
    sockets.push(socket);
    socket.on("framesent", ({ payload }) => sent.push(JSON.parse(String(payload)) as Opened["sent"][number]));
  });
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(message.text());
  });
  await page.goto(site.origin);
  await page.addScriptTag({ content: bundles.get(version)! });
  await page.evaluate((html) => {
    globalThis.container = document.body.appendChild(document.createElement("div"));
    globalThis.container.innerHTML = html;
    globalThis.reported = [];
  }, html);
  return { page, sockets, sent, problems };
}

const sale = (productId: string, newQuantity: number) => ({
  type: "inventory-change", data: { productId, oldQuantity: 100, newQuantity, reason: "sale" },
});

const text = (page: BrowserPage) => page.evaluate(() => globalThis.container.textContent);

describe.each(["18", "19"])("React %s", (version) => {
  test("StrictMode's double mount makes one socket and one call for each event, and an unmount closes it", async () => {
    const { page, sockets, sent, problems } = await open(version);
    await page.evaluate((url) => {
      const { h, StrictMode, TidingsProvider, useEvents, createRoot } = globalThis.page;
      const Stock = () => {
        useEvents("inventory-change", { where: { productId: "1" } }, ({ newQuantity }) => void globalThis.reported.push(newQuantity));
        return null;
      };
      globalThis.root = createRoot(globalThis.container);
      globalThis.root.render(h(StrictMode, null, h(TidingsProvider, { url }, h(Stock))));
    }, daemon.url);
    await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
    await daemon.publish([sale("1", 5), sale("2", 6), sale("1", 4)]);
    await expect.poll(() => page.evaluate(() => globalThis.reported)).toEqual([5, 4]);
    expect(sockets).toHaveLength(1);
    expect(sent.filter(({ type }) => type === "subscribe")).toHaveLength(1);
    await page.evaluate(() => globalThis.root.unmount());
    await expect.poll(() => sockets[0]!.isClosed()).toBe(true);
    expect(problems).toEqual([]);
  });

  test("the handler is the newest one, and options that are written in place make no new subscription", async () => {
    const { page, sent, problems } = await open(version);
    await page.evaluate((url) => {
      const { h, StrictMode, TidingsProvider, useEvents, useState, createRoot } = globalThis.page;
      const Counter = () => {
        const [count, setCount] = useState(0);
        const [productId, setProductId] = useState("1");
        useEvents("inventory-change", { where: { productId: [productId] } }, (data) => {
          globalThis.reported.push([data.productId, count]);
          setCount(count + 1);
          if (data.newQuantity === 0) setProductId("2");
        });
        return String(count);
      };
      createRoot(globalThis.container).render(h(StrictMode, null, h(TidingsProvider, { url }, h(Counter))));
    }, daemon.url);
    await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
    for (const [index, quantity] of [2, 1, 0].entries()) {
      await daemon.publish([sale("1", quantity)]);
      await expect.poll(() => text(page)).toBe(String(index + 1));
    }
    // The last one has changed the filter.
    await expect.poll(() => sent.filter(({ type }) => type === "subscribe").length).toBe(2);
    await expect.poll(async () => {
      await daemon.publish([sale("1", 9), sale("2", 9)]);
      return page.evaluate(() => globalThis.reported[3]);
    }).toEqual(["2", 3]);
    expect(await page.evaluate(() => globalThis.reported.slice(0, 3))).toEqual([["1", 0], ["1", 1], ["1", 2]]);
    expect(sent.map(({ type }) => type)).toEqual(["subscribe", "unsubscribe", "subscribe"]);
    expect(problems).toEqual([]);
  });

  test("useLatest and useConnection show what is newest, and equal requests share a subscription", async () => {
    const { page, sockets, sent, problems } = await open(version);
    await page.evaluate((url) => {
      const { h, StrictMode, TidingsProvider, useLatest, useConnection, createRoot } = globalThis.page;
      const Stock = ({ id }: { id: string }) => {
        const stock = useLatest("inventory-change", { where: { productId: id } });
        return `${id}:${stock?.data.newQuantity ?? "?"} `;
      };
      const Status = () => useConnection().status;
      const Gone = () => String(useLatest("order-status", { enabled: false }));
      createRoot(globalThis.container).render(
        h(StrictMode, null, h(TidingsProvider, { url }, h(Stock, { id: "1" }), h(Stock, { id: "1" }), h(Stock, { id: "2" }), h(Status), " ", h(Gone))),
      );
    }, daemon.url);
    await expect.poll(() => text(page)).toBe("1:? 1:? 2:? open undefined");
    await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
    await daemon.publish([sale("1", 7), sale("2", 8), sale("1", 6)]);
    await expect.poll(() => text(page)).toBe("1:6 1:6 2:8 open undefined");
    expect(sent.filter(({ type }) => type === "subscribe").map(({ channel }) => channel)).toEqual(["inventory-change", "inventory-change"]);
    expect(sockets).toHaveLength(1);
    expect(problems).toEqual([]);
  });

  test("useLatest with a subject shows what came before, and what is newer", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tidings-react-"));
    await writeFile(join(folder, "tidings.toml"), '[types.inventory-change]\nlatest = "7d"\n');
    const own = await Daemon.start(["--config", join(folder, "tidings.toml")]);
    onTestFinished(async () => {
      await own.kill();
      await rm(folder, { recursive: true });
    });
    await own.publish([sale("1", 9), sale("1", 7), sale("2", 8)]);
    const { page, sockets, problems } = await open(version);
    await page.evaluate((url) => {
      const { h, StrictMode, TidingsProvider, useLatest, createRoot } = globalThis.page;
      const Stock = ({ id }: { id: string }) => `${id}:${useLatest("inventory-change", { subject: id })?.data.newQuantity ?? "?"} `;
      createRoot(globalThis.container).render(
        h(StrictMode, null, h(TidingsProvider, { url }, h(Stock, { id: "1" }), h(Stock, { id: "1" }), h(Stock, { id: "none" }))),
      );
    }, own.url);
    await expect.poll(() => text(page)).toBe("1:7 1:7 none:? ");
    await own.publish([sale("2", 5), sale("1", 6), sale("none", 1)]);
    await expect.poll(() => text(page)).toBe("1:6 1:6 none:1 ");
    expect(sockets).toHaveLength(1);
    // Browsers show each answer with this status.
    expect(problems.filter((line) => !line.includes("status of 404"))).toEqual([]);
  });

  test("a component that takes the place of another one shows the newest event that it has shown, and subscribes to nothing anew", async () => {
    const { page, sent, problems } = await open(version);
    await page.evaluate((url) => {
      const { h, TidingsProvider, useLatest, createRoot } = globalThis.page;
      const Stock = ({ name }: { name: string }) => `${name}:${useLatest("inventory-change")?.data.newQuantity ?? "?"}`;
      globalThis.root = createRoot(globalThis.container);
      const show = (name: string) => globalThis.root.render(h(TidingsProvider, { url }, h(Stock, { name, key: name })));
      Object.assign(globalThis, { show });
      show("list");
    }, daemon.url);
    await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
    await daemon.publish([sale("1", 7)]);
    await expect.poll(() => text(page)).toBe("list:7");
    await page.evaluate(() => (globalThis as unknown as { show(name: string): void }).show("detail"));
    await expect.poll(() => text(page)).toMatch(/^detail/);
    expect(await text(page)).toBe("detail:7");
    await daemon.publish([sale("1", 6)]);
    await expect.poll(() => text(page)).toBe("detail:6");
    expect(sent.map(({ type }) => type)).toEqual(["subscribe"]);
    // Nothing shows it any more.
    await page.evaluate(() => globalThis.root.unmount());
    await expect.poll(() => daemon.subscribers("inventory-change")).toBe(0);
    expect(problems).toEqual([]);
  });

  test("useInvalidation is called for its tags, and for everything after a gap", async () => {
    let own = await Daemon.start();
    const { page } = await open(version);
    await page.evaluate((url) => {
      const { h, StrictMode, TidingsProvider, useInvalidation, createRoot } = globalThis.page;
      const Refresh = () => {
        useInvalidation(["products", "products:1"], ({ all, tags }) => void globalThis.reported.push(all ? "all" : tags.join()));
        return null;
      };
      const options = { backoff: { minMs: 10, maxMs: 100 } };
      createRoot(globalThis.container).render(h(StrictMode, null, h(TidingsProvider, { url, options }, h(Refresh))));
    }, own.url);
    await expect.poll(() => own.subscribers("cache-invalidate")).toBe(1);
    for (const tags of [["orders"], ["orders", "products:1"]]) await own.publish([{ type: "cache-invalidate", data: { tags } }]);
    await expect.poll(() => page.evaluate(() => globalThis.reported.join(" "))).toContain("products:1");
    const { port } = own;
    await own.kill();
    own = await Daemon.start([], port);
    await expect.poll(() => page.evaluate(() => globalThis.reported.at(-1))).toBe("all");
    expect(await page.evaluate(() => globalThis.reported.length)).toBe(2);
    await own.kill();
  });

  test("20 hot reloads leave one socket", async () => {
    const { page, sockets, problems } = await open(version);
    await page.evaluate(() => void (globalThis.root = globalThis.page.createRoot(globalThis.container)));
    for (let count = 1; count <= 20; count++) {
      // The whole module is evaluated again, as a bundler does when a file changes. React keeps its root.
      await page.addScriptTag({
        type: "module",
        content: `
          const { h, StrictMode, TidingsProvider, useEvents } = globalThis.page;
          const Stock = () => {
            useEvents("inventory-change", ({ newQuantity }) => globalThis.reported.push([${count}, newQuantity]));
            return "${count}";
          };
          const App = () => h(TidingsProvider, { url: ${JSON.stringify(daemon.url)} }, h(Stock));
          globalThis.root.render(h(StrictMode, null, h(App)));`,
      });
      await expect.poll(() => text(page)).toBe(String(count));
    }
    await expect.poll(() => sockets.filter((socket) => !socket.isClosed()).length).toBe(1);
    await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
    await daemon.publish([sale("1", 3)]);
    await expect.poll(() => page.evaluate(() => globalThis.reported)).toEqual([[20, 3]]);
    expect(problems).toEqual([]);
  });

  test("a server renders without opening anything, and the page takes it over", async () => {
    const require = createRequire(VERSIONS[Number(version) as keyof typeof VERSIONS]);
    const { createElement: h } = require("react") as typeof import("react");
    const { renderToString } = require("react-dom/server") as typeof import("react-dom/server");
    const hooks = serverHooks(require);
    let opened = 0;
    const WebSocket = class {
      constructor() {
        opened++;
      }
    } as never;
    const App = () => {
      hooks.useEvents("inventory-change", () => void opened++);
      hooks.useInvalidation(["products"], () => void opened++);
      const latest = hooks.useLatest("order-status");
      return h("p", null, `${hooks.useConnection().status} ${latest?.id ?? "none"}`);
    };
    const token = () => {
      opened++;
      return "t";
    };
    const html = renderToString(h(hooks.TidingsProvider, { url: daemon.url, options: { WebSocket, token } }, h(App)));
    expect(html).toBe("<p>idle none</p>");
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(opened).toBe(0);

    const { page, problems } = await open(version, html);
    await page.evaluate((url) => {
      const { h, TidingsProvider, useLatest, useConnection, hydrateRoot } = globalThis.page;
      const App = () => {
        const latest = useLatest("order-status");
        return h("p", null, `${useConnection().status} ${latest?.id ?? "none"}`);
      };
      hydrateRoot(globalThis.container, h(TidingsProvider, { url }, h(App)));
    }, daemon.url);
    await expect.poll(() => text(page)).toBe("open none");
    expect(problems).toEqual([]);
  });

  test("a hook without a provider says what is missing, and one with a closed bus renders", async () => {
    const require = createRequire(VERSIONS[Number(version) as keyof typeof VERSIONS]);
    const { createElement: h } = require("react") as typeof import("react");
    const { renderToString } = require("react-dom/server") as typeof import("react-dom/server");
    const hooks = serverHooks(require);
    expect(() => renderToString(h(() => hooks.useConnection().status))).toThrow("wrap the component in <TidingsProvider");

    const { page, problems } = await open(version);
    await page.evaluate((url) => {
      const { h, connect, TidingsProvider, useConnection, useEvents, useLatest, useInvalidation, createRoot } = globalThis.page;
      const bus = connect(url);
      bus.close();
      const App = () => {
        useEvents("order-status", () => {});
        useInvalidation(["a"], () => {});
        return `${useConnection().status} ${useLatest("order-status")?.id ?? "none"}`;
      };
      createRoot(globalThis.container).render(h(TidingsProvider, { bus }, h(App)));
    }, daemon.url);
    await expect.poll(() => text(page)).toBe("closed none");
    expect(problems).toEqual([]);
  });
});

test("what is hidden by <Activity> and shown again has a bus again", async () => {
  const { page, sockets, problems } = await open("19");
  await page.evaluate((url) => {
    const { h, React, TidingsProvider, useEvents, createRoot } = globalThis.page;
    const Stock = () => {
      useEvents("inventory-change", ({ newQuantity }) => void globalThis.reported.push(newQuantity));
      return null;
    };
    globalThis.root = createRoot(globalThis.container);
    Object.assign(globalThis, {
      show: (mode: "visible" | "hidden") => globalThis.root.render(h(React.Activity, { mode, children: h(TidingsProvider, { url }, h(Stock)) })),
    });
  }, daemon.url);
  const show = (mode: string) => page.evaluate((mode) => (globalThis as unknown as { show(mode: string): void }).show(mode), mode);
  await show("visible");
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
  await show("hidden");
  await expect.poll(() => sockets.map((socket) => socket.isClosed())).toEqual([true]);
  await show("visible");
  await expect.poll(() => daemon.subscribers("inventory-change")).toBe(1);
  await daemon.publish([sale("1", 3)]);
  await expect.poll(() => page.evaluate(() => globalThis.reported)).toEqual([3]);
  expect(problems).toEqual([]);
});

/** The built hooks with the React of that folder. */
function serverHooks(require: NodeJS.Require): typeof import("../src/react/index.js") {
  const loaded = new Map([["react", require("react")]]);
  const own = createRequire(import.meta.url);
  const file = own.resolve("../dist/react.cjs");
  return loadWith(file, (name) => loaded.get(name) ?? own(own.resolve(name, { paths: [path("../dist")] })));
}

/** Evaluates a CommonJS module with a `require` of its own. */
function loadWith(file: string, require: (name: string) => unknown): typeof import("../src/react/index.js") {
  const module = { exports: {} };
  new Function("module", "exports", "require", readFileSync(file, "utf8"))(module, module.exports, require);
  return module.exports as typeof import("../src/react/index.js");
}
