// Type tests: what must compile, and what must not. This file never runs; `npm run typecheck` is the test.

import { createClient, createCluster } from "redis";
import { expectTypeOf } from "vitest";

import { createCache, redisL2 } from "../src/cache/index.js";
import type { Where } from "../src/filter.js";
import {
  type Accepted,
  type Bus,
  type CloudEvent,
  connect,
  type DaemonErrorCode,
  ERROR_CODES,
  type ErrorCode,
  type EventMap,
  type FinanceChange,
  type Gap,
  type InventoryChange,
  type OrderStatus,
  type Published,
  type PublishedAll,
  type Since,
  type TidingsEvent,
} from "../src/index.js";

declare const bus: Bus;

// The name of an event determines the type of its data.
bus.on("inventory-change", { where: { productId: "123" } }, (data, event) => {
  expectTypeOf(data).toEqualTypeOf<InventoryChange>();
  expectTypeOf(event).toEqualTypeOf<CloudEvent<"inventory-change", InventoryChange>>();
});
bus.on("order-status", ({ newStatus }) => expectTypeOf(newStatus).toEqualTypeOf<OrderStatus>());
for await (const { data } of bus.events("finance-change")) expectTypeOf(data).toEqualTypeOf<FinanceChange>();
expectTypeOf(bus.publish("data-update", { resource: "r", id: "1", action: "create" })).resolves.toEqualTypeOf<Published>();
expectTypeOf(bus.publishAll([])).resolves.toExtend<Accepted[]>();
expectTypeOf<Published | PublishedAll>().toExtend<{ readonly cascaded: readonly Accepted[] }>();
expectTypeOf(bus.latest("inventory-change", "1")).resolves.toEqualTypeOf<CloudEvent<"inventory-change", InventoryChange> | undefined>();
bus.watch("inventory-change", "1", { where: { reason: "sale" }, signal: undefined }, (data) => expectTypeOf(data).toEqualTypeOf<InventoryChange>());
bus.on("inventory-change", { since: "latest" }, () => {});
// @ts-expect-error a watcher always begins with the newest event
bus.watch("inventory-change", "1", { since: "start" }, () => {});
// @ts-expect-error no such event
bus.latest("inventory-chnage", "1");
// @ts-expect-error no such event
bus.on("inventory-chnage", () => {});
// @ts-expect-error no such field
bus.on("inventory-change", ({ productID }) => productID);
// @ts-expect-error no such event
bus.events("inventory-chnage");

// A filter accepts only the fields of the event, and only values of their types.
bus.on("inventory-change", { where: { productId: ["1", "2"], newQuantity: 0, variantId: { prefix: "x" } } }, () => {});
bus.on("order-status", { where: { newStatus: ["shipped", "delivered"], oldStatus: { prefix: "p" } } }, () => {});
bus.on("cache-invalidate", { where: { tags: "a", keys: { prefix: "user:" }, reason: ["x"] } }, () => {});
// @ts-expect-error no such field
bus.on("inventory-change", { where: { productID: "1" } }, () => {});
// @ts-expect-error a field of another event
bus.events("inventory-change", { where: { orderId: "1" } });
// @ts-expect-error the field is a string
bus.on("inventory-change", { where: { productId: 123 } }, () => {});
// @ts-expect-error the field is a number
bus.on("inventory-change", { where: { newQuantity: ["0"] } }, () => {});
// @ts-expect-error a number has no prefix
bus.on("inventory-change", { where: { newQuantity: { prefix: "1" } } }, () => {});
// @ts-expect-error the field is not nullable
bus.on("inventory-change", { where: { productId: null } }, () => {});
// @ts-expect-error no such status
bus.on("order-status", { where: { newStatus: "lost" } }, () => {});
// @ts-expect-error no such operator
bus.on("order-status", { where: { orderId: { suffix: "1" } } }, () => {});
// @ts-expect-error a misspelt option must not result in an unfiltered stream
bus.on("order-status", { were: { orderId: "1" } }, () => {});

// `since` is a string or undefined, since a stored position may be missing.
declare const stored: Map<string, string>;
bus.on("order-status", { since: stored.get("order-status"), where: { orderId: "1" } }, () => {});
bus.events("order-status", { since: "10m" });
expectTypeOf(bus.positions).toEqualTypeOf<ReadonlyMap<string, string>>();
bus.on("order-status", (_, event) => expectTypeOf(bus.positionOf(event)).toEqualTypeOf<string | undefined>());
// @ts-expect-error a time is given as text
bus.on("order-status", { since: new Date() }, () => {});
// @ts-expect-error an offset alone is not a position
bus.events("order-status", { since: 7 });

const since: Since[] = ["now", "start", "10m", "2026-11-21T10:00:00Z", "e:7"];
bus.events("order-status", { since: since[0] });

// The channel of a gap is one of the known channels.
bus.onGap((gap) => {
  expectTypeOf(gap).toEqualTypeOf<Gap<keyof EventMap>>();
  expectTypeOf(gap.position).toEqualTypeOf<string>();
  // @ts-expect-error no such channel
  if (gap.channel === "inventory-chnage") return;
});
bus.onGap((gap: Gap) => gap.from);

// Published data must have the type of the event.
bus.publish("cache-invalidate", { tags: ["a"] }, { id: "1", source: "/shop" });
bus.publishAll([
  { type: "order-status", data: { orderId: "1", newStatus: "shipped" } },
  { type: "cache-invalidate", data: { keys: [] } },
]);
// A value that a program may not have is left out, in options too.
declare const maybe: string | undefined;
declare const signal: AbortSignal | undefined;
bus.publish(
  "inventory-change",
  { productId: "1", variantId: maybe, oldQuantity: 1, newQuantity: 2, reason: "sale" },
  { id: maybe, source: maybe, subject: maybe, time: maybe, causationid: maybe, traceparent: maybe, tracestate: maybe, signal,
    extensions: maybe === undefined ? undefined : { shop: maybe }, retryTimeoutMs: undefined },
);
bus.publish("cache-invalidate", { tags: ["a"], keys: undefined, reason: maybe }, { extensions: { shop: maybe } });
bus.on("order-status", { where: undefined, since: maybe, signal, onError: undefined }, () => {});
bus.events("order-status", { where: undefined, since: maybe, signal, buffer: undefined });
void bus.ready({ signal });
connect("http://127.0.0.1:7400", {
  urls: undefined, WebSocket: undefined, fetch: undefined, backoff: { minMs: undefined }, random: undefined, retryTimeoutMs: undefined,
});
// @ts-expect-error a required field must have a value
bus.publish("data-update", { resource: "r", id: maybe, action: "create" });
// @ts-expect-error a condition without a value would match more events than intended
bus.on("inventory-change", { where: { variantId: maybe } }, () => {});
// @ts-expect-error one of the three is needed
bus.publish("cache-invalidate", { reason: "none" });
// @ts-expect-error a field is missing
bus.publish("inventory-change", { productId: "1", oldQuantity: 1, newQuantity: 2 });
// @ts-expect-error no such field
bus.publish("data-update", { resource: "r", id: "1", action: "create", actor: "me" });
// @ts-expect-error no such action
bus.publish("data-update", { resource: "r", id: "1", action: "upsert" });
// @ts-expect-error no such currency
bus.publish("finance-change", { entity: "refund", id: "1", amountMinor: 5, currency: "EURO" });
// @ts-expect-error the data of another event
bus.publishAll([{ type: "order-status", data: { tags: ["a"] } }]);

// A union of all events narrows by its type.
declare const event: TidingsEvent;
if (event.type === "inventory-change") expectTypeOf(event.data).toEqualTypeOf<InventoryChange>();
// @ts-expect-error not every event has this field
event.data.productId;

// Custom types replace the built-in ones, or extend them.
interface Own extends EventMap {
  "price-change": {
    sku: number;
    labels: { [key: string]: string };
    shop: { address?: { city: string; zip?: string | null } };
    tree: Tree;
    lines: { sku: string }[];
    "x.y"?: boolean;
    anything: unknown;
    [other: string]: unknown;
  };
}
interface Tree {
  name: string;
  child?: Tree;
}
const own = connect<Own>("http://127.0.0.1:7400", { urls: ["http://127.0.0.1:7401"] });
own.onGap(({ channel }) => expectTypeOf(channel).toEqualTypeOf<keyof Own>());
own.on("price-change", ({ shop }) => expectTypeOf(shop.address?.city).toEqualTypeOf<string | undefined>());
own.on("order-status", { where: { orderId: "1" } }, () => {});
type OwnWhere = Where<Own["price-change"]>;
const nested: OwnWhere = {
  sku: [1, 2],
  "shop.address.city": { prefix: "B" },
  "shop.address.zip": null,
  "labels.colour": "red",
  "tree.child.child.name": ["a"],
  "x.y": true,
  anything: { prefix: "x" },
};
// @ts-expect-error a filter cannot compare with an object
const whole: OwnWhere = { shop: {} };
// @ts-expect-error no such nested field
const deep: OwnWhere = { "shop.address.street": "x" };
// @ts-expect-error a label is a string
const label: OwnWhere = { "labels.colour": 7 };
// @ts-expect-error a filter does not look into the objects of an array
const element: OwnWhere = { "lines.sku": "1" };
// @ts-expect-error a field that the schema does not declare
const unnamed: OwnWhere = { other: "1" };
void [nested, whole, deep, label, element, unnamed];

// Without types, every event name, field and value is accepted, and data is unknown.
const untyped = connect<Record<string, unknown>>("http://127.0.0.1:7400");
untyped.on("whatever", { where: { "a.b": 1, c: ["x", null, true], d: { prefix: "" } } }, (data) => {
  expectTypeOf(data).toEqualTypeOf<unknown>();
});
// @ts-expect-error a filter compares only with scalars, even without types
untyped.on("whatever", { where: { a: {} } }, () => {});

// An error has a code of this daemon, of the client, or of a later daemon.
expectTypeOf<DaemonErrorCode | "network" | "unauthenticated">().toExtend<ErrorCode>();
expectTypeOf(ERROR_CODES["invalid-event"].status).toEqualTypeOf<number>();
// @ts-expect-error no such code
ERROR_CODES["invalid-evnet"];

// The cache

type Tag = "products" | `products:${string}`;
declare const ioredis: import("ioredis").Redis;
declare const ioredisCluster: import("ioredis").Cluster;
const nodeRedis = createClient();
const nodeRedisCluster = createCluster({ rootNodes: [] });
const ownBus = connect<EventMap & { "price-change": { sku: string } }>("http://127.0.0.1:7400");

const cache = createCache<Tag>({ bus, ttl: "5m", maxEntries: 10 });
createCache({ bus: ownBus, ttl: 1_000, maxEntries: 10, l2: redisL2(ioredis) });
createCache({ bus, ttl: 1_000, maxEntries: 10, l2: redisL2(ioredisCluster, { prefix: "a:" }) });
createCache({ bus, ttl: 1_000, maxEntries: 10, l2: redisL2(nodeRedis) });
createCache({ bus, ttl: 1_000, maxEntries: 10, l2: redisL2(nodeRedisCluster) });
// @ts-expect-error: a duration has a unit
createCache({ bus, ttl: "5 minutes", maxEntries: 10 });
// @ts-expect-error: the store is bounded
createCache({ bus, ttl: 1_000 });

const one: Promise<number> = cache.getOrSet("a", () => 1, { tags: ["products", "products:1"] });
const found: Promise<{ id: string }> = cache.getOrSet("a", async () => ({ id: "1" }), { tags: ({ id }) => [`products:${id}`], lock: { wait: "1s" } });
// @ts-expect-error: a misspelt tag
void cache.getOrSet("a", () => 1, { tags: ["product:1"] });
// @ts-expect-error: a misspelt tag
void cache.invalidate({ tags: ["product:1"] });
void cache.getOrSet("a", ({ tag, ttl, skip, signal, key }) => (tag("products:1"), ttl("1s"), skip(), signal.aborted ? key : ""));
// @ts-expect-error: a misspelt tag
void cache.getOrSet("a", ({ tag }) => tag("product:1"));
const wrapped: (id: string, full: boolean) => Promise<number> = cache.wrap(async (id: string, full: boolean) => (full ? id.length : 0), {
  key: (id, full) => `${id}:${full}`,
  tags: (id) => [`products:${id}`],
  ttl: "1m",
});
const peeked: number | undefined = cache.peek<number>("a");
const written: Promise<string> = cache.mutate({ keys: ["a"] }, () => "x", { hold: "3s" });
const put: Promise<{ readonly position: string }> = cache.put("a", { n: 1 }, { save: ({ n }) => n, tags: ["products"] });
cache.on("mismatch", ({ key, tags }) => [key, ...tags]);
// @ts-expect-error: there is no such event
cache.on("misses", () => {});
const rate: number = cache.stats().hitRate;
void [one, found, wrapped, peeked, written, put, rate];

const positions: Promise<ReadonlyMap<string, string>> = bus.sync({ signal: AbortSignal.timeout(1) });
void positions;
