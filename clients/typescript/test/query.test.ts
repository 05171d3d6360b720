// `bindQueryClient` with the real TanStack Query and the real daemon.

import { type QueryKey, QueryClient, QueryObserver } from "@tanstack/query-core";
import { afterEach, expect, test } from "vitest";

import { type Bus, connect } from "../src/index.js";
import { bindQueryClient } from "../src/query/index.js";
import { Daemon } from "./daemon.js";
import { Proxy } from "./proxy.js";

const started: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of started.splice(0).reverse()) await end();
});

async function startDaemon(port = 0): Promise<Daemon> {
  const daemon = await Daemon.start([], port);
  started.push(() => daemon.kill());
  return daemon;
}

async function setup(url: string, options?: Parameters<typeof bindQueryClient>[2]): Promise<{ client: QueryClient; bus: Bus; unbind: () => void }> {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false, staleTime: Infinity } } });
  const bus = connect(url, { backoff: { minMs: 10, maxMs: 50 } });
  bus.onError(() => {});
  const unbind = bindQueryClient(client, bus, options);
  started.push(() => (unbind(), client.clear(), bus.close()));
  await bus.ready();
  return { client, bus, unbind };
}

/** What a test changes, and a request for it that waits until the test lets it go. */
class Source {
  value = 1;
  requests = 0;
  #waiting: (() => void)[] = [];
  #isHeld = false;

  hold(): this {
    this.#isHeld = true;
    return this;
  }

  release(): void {
    this.#isHeld = false;
    for (const go of this.#waiting.splice(0)) go();
  }

  /** Reads the value at the server, and answers later. */
  readonly fetch = async (): Promise<number> => {
    const { value } = this;
    this.requests++;
    if (this.#isHeld) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return value;
  };
}

/** A component that shows a query. */
function show(client: QueryClient, queryKey: QueryKey, source: Source, meta?: Record<string, unknown>): QueryObserver<number> {
  const observer = new QueryObserver<number>(client, { queryKey, queryFn: source.fetch, ...(meta && { meta }) });
  started.push(observer.subscribe(() => {}));
  return observer;
}

const data = (observer: QueryObserver<number>) => observer.getCurrentResult().data;
const invalidate = (daemon: Daemon, ...tags: string[]) => daemon.publish([{ type: "cache-invalidate", data: { tags } }]);

test("an invalidation loads the shown queries of its tags again, and no other", async () => {
  const daemon = await startDaemon();
  const { client, unbind } = await setup(daemon.url);
  const [product, other, unbound] = [new Source(), new Source(), new Source()];
  const shown = show(client, ["product", 1], product, { tags: ["products", "products:1"] });
  const others = [show(client, ["product", 2], other, { tags: ["products:2"] }), show(client, ["settings"], unbound)];
  await expect.poll(() => [shown, ...others].map(data)).toEqual([1, 1, 1]);
  product.value = 2;
  await invalidate(daemon, "products:1", "products");
  await expect.poll(() => data(shown)).toBe(2);
  expect([product.requests, other.requests, unbound.requests]).toEqual([2, 1, 1]);
  unbind();
  await expect.poll(() => daemon.subscribers("cache-invalidate")).toBe(0);
});

test("a query whose first fetch is under way is loaded again when it settles", async () => {
  const daemon = await startDaemon();
  const { client, bus } = await setup(daemon.url);
  const source = new Source().hold();
  const shown = show(client, ["product", 1], source, { tags: ["products:1"] });
  await expect.poll(() => source.requests).toBe(1);
  // The server has read the old value, and its answer is under way.
  source.value = 2;
  await invalidate(daemon, "products:1");
  await bus.sync();
  await turn();
  expect(source.requests).toBe(1);
  // What the application sets meanwhile is no answer.
  client.setQueryData(["product", 1], 0);
  await turn();
  source.release();
  await expect.poll(() => data(shown)).toBe(2);
  expect(source.requests).toBe(2);
});

test("a fetch of a query that nobody shows leaves it invalidated", async () => {
  const daemon = await startDaemon();
  const { client, bus } = await setup(daemon.url);
  const source = new Source();
  const options = { queryKey: ["product", 1], queryFn: source.fetch, meta: { tags: ["products:1"] } };
  await client.prefetchQuery(options);
  source.hold();
  void client.prefetchQuery({ ...options, staleTime: 0 });
  await expect.poll(() => source.requests).toBe(2);
  source.value = 2;
  await invalidate(daemon, "products:1");
  await bus.sync();
  await turn();
  source.release();
  const state = () => client.getQueryState(["product", 1]);
  await expect.poll(() => state()?.fetchStatus).toBe("idle");
  await expect.poll(() => state()).toMatchObject({ data: 1, isInvalidated: true });
  // Who shows it next gets the new value.
  const shown = show(client, ["product", 1], source, { tags: ["products:1"] });
  await expect.poll(() => data(shown)).toBe(2);
});

test("a first fetch that fails is not tried again by the invalidation", async () => {
  const daemon = await startDaemon();
  const { client, bus } = await setup(daemon.url);
  let requests = 0;
  let fail = (_error: Error) => {};
  const observer = new QueryObserver(client, {
    queryKey: ["product", 1],
    queryFn: () => (requests++, new Promise((_, reject) => (fail = reject))),
    meta: { tags: ["products:1"] },
  });
  started.push(observer.subscribe(() => {}));
  await expect.poll(() => requests).toBe(1);
  await invalidate(daemon, "products:1");
  await bus.sync();
  await turn();
  fail(new Error("500"));
  await expect.poll(() => observer.getCurrentResult().status).toBe("error");
  await turn();
  expect(requests).toBe(1);
});

test("a gap loads all bound queries again, and a reconnect none", async () => {
  let daemon = await startDaemon();
  const { port } = daemon;
  const proxy = await Proxy.before(port);
  started.push(() => proxy.stop());
  const { client, bus } = await setup(proxy.url);
  const [a, b, unbound] = [new Source(), new Source(), new Source()];
  const shown = [show(client, ["a"], a, { tags: ["a"] }), show(client, ["b"], b, { tags: ["b"] }), show(client, ["c"], unbound)];
  await expect.poll(() => shown.map(data)).toEqual([1, 1, 1]);
  const states: string[] = [];
  bus.onState(({ status }) => states.push(status));
  proxy.cut();
  await expect.poll(() => states).toContain("open");
  await bus.ready();
  await bus.sync();
  await turn();
  expect([a.requests, b.requests, unbound.requests]).toEqual([1, 1, 1]);
  a.value = b.value = unbound.value = 2;
  // The log was in the memory of the daemon.
  await daemon.kill();
  daemon = await startDaemon(port);
  await expect.poll(() => shown.map(data)).toEqual([2, 2, 1]);
  expect([a.requests, b.requests, unbound.requests]).toEqual([2, 2, 1]);
});

test("what was invalidated between a page's request and its connection is loaded again", async () => {
  const daemon = await startDaemon();
  const client = new QueryClient({ defaultOptions: { queries: { staleTime: Infinity } } });
  const source = new Source();
  const shown = show(client, ["product", 1], source, { tags: ["products:1"] });
  await expect.poll(() => data(shown)).toBe(1);
  source.value = 2;
  await invalidate(daemon, "products:1");
  const bus = connect(daemon.url);
  started.push(bindQueryClient(client, bus), () => bus.close());
  await expect.poll(() => data(shown)).toBe(2);
});

test("a function finds the tags of a query", async () => {
  const daemon = await startDaemon();
  const { client } = await setup(daemon.url, { tags: ({ queryKey: [kind, id] }) => (kind === "product" ? [`products:${id}`] : undefined) });
  const [product, settings] = [new Source(), new Source()];
  const shown = [show(client, ["product", 1], product), show(client, ["settings"], settings, { tags: ["products:1"] })];
  await expect.poll(() => shown.map(data)).toEqual([1, 1]);
  product.value = settings.value = 2;
  await invalidate(daemon, "products:1");
  await expect.poll(() => shown.map(data)).toEqual([2, 1]);
});

/** Waits until reports and notifications, which come at the end of a turn, are there. */
async function turn(): Promise<void> {
  for (let count = 0; count < 3; count++) await new Promise((resolve) => setTimeout(resolve, 0));
}

test("a first fetch that was cancelled after an invalidation leaves nothing to do for the next one", async () => {
  const daemon = await startDaemon();
  const { client } = await setup(daemon.url);
  const [source, marker] = [new Source().hold(), new Source()];
  const shown = show(client, ["product", 1], source, { tags: ["products"] });
  const marked = show(client, ["marker"], marker, { tags: ["products", "marker"] });
  await expect.poll(() => [source.requests, data(marked)]).toEqual([1, 1]);
  await invalidate(daemon, "products");
  await expect.poll(() => marker.requests).toBe(2);
  await client.cancelQueries({ queryKey: ["product", 1] });
  source.value = 2;
  source.release();
  void shown.refetch();
  await expect.poll(() => data(shown)).toBe(2);
  // The answer to a later invalidation is there: nothing else is under way.
  await invalidate(daemon, "marker");
  await expect.poll(() => [marker.requests, client.isFetching()]).toEqual([3, 0]);
  expect(source.requests).toBe(2);
});
