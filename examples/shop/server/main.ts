// One instance of the shop: an HTTP server with a near cache. The instances know nothing of each other; they share a database
// and a bus.

import { createServer, type IncomingMessage } from "node:http";
import { json } from "node:stream/consumers";

import { connect } from "tidings-client";
import { createCache } from "tidings-client/cache";

import type { Change, Stats } from "../shared/api.ts";
import type { CacheTag, EventMap } from "../shared/generated/events.ts";
import { bookDeliveries } from "./deliveries.ts";
import { Outbox } from "./outbox.ts";
import { Refusal, Shop } from "./shop.ts";
import { Views } from "./views.ts";

const { SHOP_PORT, SHOP_DATABASE = "shop.db", SHOP_PAGE = "", TIDINGS_URL = "http://127.0.0.1:7400" } = process.env;

const shop = new Shop(SHOP_DATABASE);
// The default waits up to 30 s between attempts. Who looks on has less patience.
const bus = connect<EventMap>(TIDINGS_URL, { backoff: { maxMs: 1_000 } });
const cache = createCache<CacheTag>({ bus, ttl: "5m", maxEntries: 1_000 });
const views = new Views(shop, cache);
const outbox = new Outbox(shop, bus);
void bookDeliveries(bus, shop, outbox);

/** Answers a request with what becomes the JSON of the response. */
type Handler = (query: URLSearchParams, request: IncomingMessage) => unknown;

const routes: Record<string, Handler> = {
  "GET /products": async (query) => (await views.at(query.get("after"))).products(),
  "GET /product": async (query) => (await views.at(query.get("after"))).product(query.get("id") ?? ""),
  "GET /orders": async (query) => (await views.at(query.get("after"))).orders(),
  "GET /order": async (query) => (await views.at(query.get("after"))).order(query.get("id") ?? ""),
  "GET /dashboard": async (query) => (await views.at(query.get("after"))).dashboard(),
  "GET /stats": (): Stats => ({ cache: cache.stats(), waiting: outbox.waiting }),
  "POST /change": async (_, request) => {
    shop.make((await json(request)) as Change);
    await outbox.flush();
    return {};
  },
};

/** Lets the page of the shop call from its own origin, and no other page. */
const headers = {
  "access-control-allow-origin": SHOP_PAGE,
  "access-control-allow-headers": "content-type",
  "access-control-max-age": "600",
  "cache-control": "no-store",
  "content-type": "application/json",
};

createServer(async (request, response) => {
  const answer = (status: number, body: unknown) => response.writeHead(status, headers).end(JSON.stringify(body ?? null));
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://shop");
  const isPost = request.method === "POST";
  try {
    const handle = routes[`${request.method} ${pathname}`];
    if (request.method === "OPTIONS") answer(200, {});
    else if (handle === undefined) answer(404, { message: `there is no ${request.method} ${pathname}` });
    // A browser asks before a page of another origin sends JSON, and gets no leave. It would send a form unasked.
    else if (isPost && request.headers["content-type"] !== "application/json") answer(415, { message: "send JSON" });
    else answer(200, await handle(searchParams, request));
  } catch (error) {
    if (error instanceof Refusal) return answer(409, { message: error.message });
    console.error(error);
    answer(500, { message: "the instance failed; its output says why" });
  }
}).listen(Number(SHOP_PORT), "127.0.0.1");
