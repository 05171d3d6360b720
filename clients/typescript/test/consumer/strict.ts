// A program with every strict setting of TypeScript, compiled for each module system. `events.ts` beside it is generated.

import { connect, type Bus, type TidingsError } from "tidings-client";
import { type Cache, createCache } from "tidings-client/cache";
import { localStoragePersistence } from "tidings-client/persist";
import { type DefinedTypes, defineTypes, type EventsOf, type OwnType, type StandardSchema } from "tidings-client/schema";

import type { EventMap, InventoryChange, PriceChange } from "./events.js";

const bus: Bus<EventMap> = connect<EventMap>("http://127.0.0.1:7400");

export function sold(productId: string, variantId: string | undefined): InventoryChange {
  return { productId, variantId, oldQuantity: 2, newQuantity: 1, reason: "sale" };
}

export const price: PriceChange = { sku: "a", price: { amount: 5, currency: "EUR" }, was: undefined };

export function start(subject: string | undefined, signal: AbortSignal | undefined): void {
  bus.on("price-change", { where: { sku: { prefix: "a" } }, since: subject, signal }, ({ was }) => void was?.amount);
  bus.publish("price-change", price, { subject, signal }).catch((error: TidingsError) => void error.errors[0]?.pointer);
}

type Tag = "products" | `products:${string}`;

export const cache: Cache<Tag> = createCache<Tag>({ bus, bound: "2s", ttl: "5m", maxEntries: 1_000, settle: undefined });

export function product(id: string, signal: AbortSignal | undefined): Promise<PriceChange | undefined> {
  return cache.getOrSet(`product:${id}`, ({ tag }) => (tag("products"), id === "a" ? price : undefined), { tags: [`products:${id}`], signal });
}

interface Review {
  id: string;
  stars: number;
}

declare const review: StandardSchema<Review>;

// With `isolatedDeclarations`, an export needs a type of its own.
export const types: DefinedTypes<{ review: OwnType<StandardSchema<Review>> }> = defineTypes({ review: { schema: review, key: "id" } });
type Events = EventsOf<typeof types>;

export function persisted(user: string, signal: AbortSignal | undefined): Bus<Events> {
  const bus: Bus<Events> = connect("http://127.0.0.1:7400", { types, validate: "receive", persist: localStoragePersistence({ name: user }) });
  bus.on("review", { where: { stars: [1, 2] }, signal }, ({ id, stars }) => void `${id}${stars.toFixed()}`);
  return bus;
}
