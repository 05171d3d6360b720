// Type tests of the adapters: what must compile, and what must not. This file never runs; `npm run typecheck` is the test.

import { type Query, QueryClient } from "@tanstack/query-core";
import { createElement as h } from "react";
import { expectTypeOf } from "vitest";

import { type Bus, type CloudEvent, connect, connectOnce, type EventTypes, type InventoryChange, onInvalidate } from "../src/index.js";
import { createNextHandler } from "../src/next/index.js";
import { bindQueryClient } from "../src/query/index.js";
import { TidingsProvider, useBus, useEvents, useInvalidation, useLatest } from "../src/react/index.js";
import type { EventMap } from "./own/events.js";

declare const bus: Bus;
declare const ownBus: Bus<EventMap>;

onInvalidate(bus, ({ all, tags }) => void [all satisfies boolean, tags satisfies readonly string[]]);
onInvalidate(ownBus, () => {}, { since: "now" });
onInvalidate(connect("http://127.0.0.1:7400"), () => {}, { since: bus.positions.get("cache-invalidate") });

// The name of an event determines the type of its data, and what a filter accepts.
useEvents("inventory-change", { where: { productId: "1" }, enabled: true }, (data, event) => {
  expectTypeOf(data).toEqualTypeOf<InventoryChange>();
  expectTypeOf(event).toEqualTypeOf<CloudEvent<"inventory-change", InventoryChange>>();
});
useEvents("order-status", async ({ orderId }) => void orderId);
expectTypeOf(useLatest("inventory-change")).toEqualTypeOf<CloudEvent<"inventory-change", InventoryChange> | undefined>();
expectTypeOf(useBus()).toEqualTypeOf<Bus>();
useInvalidation(["products"], ({ staleForMs }) => void staleForMs);
// @ts-expect-error no such event
useEvents("inventory-chnage", () => {});
// @ts-expect-error no such field
useEvents("inventory-change", { where: { productID: "1" } }, () => {});
// @ts-expect-error no such status
useLatest("order-status", { where: { newStatus: "lost" } });
// @ts-expect-error no handler
useEvents("order-status", { where: { newStatus: "shipped" } });

// Own types, wherever a bus is made.
declare const types: EventTypes<EventMap>;
expectTypeOf(connectOnce("http://127.0.0.1:7400", { types, validate: "publish" })).toEqualTypeOf<Bus<EventMap>>();
h(TidingsProvider, { url: "http://127.0.0.1:7400", options: { types, validate: true } });

// The client of every framework, and its own type of a query.
const client = new QueryClient();
bindQueryClient(client, bus);
bindQueryClient(client, ownBus, { tags: ({ queryKey }) => [String(queryKey[0])], since: "now" });
bindQueryClient(client, bus, { tags: (query: Query) => [query.queryHash] });
// @ts-expect-error not a query client
bindQueryClient(bus, bus);

const Handler = createNextHandler({ url: "http://127.0.0.1:7400", bound: "500ms", token: "t" });
expectTypeOf(new Handler().resetRequestCache()).toEqualTypeOf<void>();
expectTypeOf(Handler.updateTags(["a"], { expire: 1 })).resolves.toEqualTypeOf<void>();
// @ts-expect-error which daemon?
createNextHandler({});
expectTypeOf(useLatest("inventory-change", { subject: "1" })).toEqualTypeOf<CloudEvent<"inventory-change", InventoryChange> | undefined>();
