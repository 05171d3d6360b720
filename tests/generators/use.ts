// Uses the types that json-schema-to-typescript and quicktype generated. check.mjs compiles this beside them.

import type { Event, InventoryChange, OrderStatus, PriceChange } from "./event.js";
import type * as quicktype from "./event.definitions.js";
import type { Event as MergedEvent } from "./event.quicktype.js";
import type { FinanceChange } from "./finance-change.js";

const sale: InventoryChange = { productId: "1", oldQuantity: 2, newQuantity: 1, reason: "sale" };
const event: Event = { type: "inventory-change", data: sale, id: "a", traceparent: "00-1-2-01" };
declare const received: Event;
if (received.type === "order-status") {
  const status: OrderStatus = received.data.newStatus;
  const before: OrderStatus | undefined = received.data.oldStatus;
  void [status, before];
}
const invalidation: Event = { type: "cache-invalidate", data: { tags: ["product:1"] } };
const update: Event = { type: "data-update", data: { resource: "product", id: "1", action: "update", version: 2 } };
const refund: FinanceChange = { entity: "refund", id: "1", amountMinor: 5, currency: "EUR" };
const price: PriceChange = { sku: "a", price: { amount: 5, currency: "EUR" }, parts: [] };
// @ts-expect-error a field is missing
const wrong: InventoryChange = { productId: "1", oldQuantity: 2, newQuantity: 1 };
// @ts-expect-error the data of another type
const mixed: Event = { type: "data-update", data: sale };
// @ts-expect-error no such status
const lost: OrderStatus = "lost";
// @ts-expect-error at least one of the three is needed
const nothing: Event = { type: "cache-invalidate", data: { reason: "none" } };

const typed: quicktype.InventoryChangeEvent = { type: "inventory-change", data: sale };
const change: quicktype.OrderStatusChange = { orderId: "1", newStatus: "shipped", customerId: "2" };
const money: quicktype.FinanceChange = refund;
const entries: quicktype.CacheInvalidate = { prefixes: ["product:"] };
const record: quicktype.DataUpdate = { resource: "product", id: "1", action: "delete" };
const merged: MergedEvent = { type: "order-status", data: { orderId: "1", newStatus: "shipped" } };
// @ts-expect-error a field is missing
const incomplete: quicktype.InventoryChange = { productId: "1" };
void [event, invalidation, update, price, wrong, mixed, lost, nothing, typed, change, money, entries, record, merged, incomplete];
