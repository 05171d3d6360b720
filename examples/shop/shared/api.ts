// What the page asks an instance, and what it answers. The page and the server share these types.

import type { CacheStats } from "tidings-client/cache";

import type { OrderStatus } from "./generated/events.ts";

export interface Product {
  readonly id: string;
  readonly name: string;
  readonly cents: number;
  readonly stock: number;
}

/** What a product's own page shows. */
export interface ProductPage extends Product {
  readonly about: string;
  readonly sold: number;
}

export interface Order {
  readonly id: string;
  readonly productId: string;
  readonly customerId: string;
  readonly status: OrderStatus;
}

export interface Dashboard {
  readonly revenueCents: number;
  readonly sold: number;
  readonly openOrders: number;
  readonly inStock: number;
}

export interface Stats {
  readonly cache: CacheStats;
  /** Events that are committed, and that the bus has not taken yet. */
  readonly waiting: number;
}

/** A change that the page asks for. The instance makes it once for each `id`, so it can be sent again when an answer is lost. */
export type Change =
  | { readonly id: string; readonly do: "buy"; readonly productId: string; readonly customerId: string }
  | { readonly id: string; readonly do: "restock"; readonly productId: string; readonly pieces: number }
  | { readonly id: string; readonly do: "set-status"; readonly orderId: string; readonly status: OrderStatus };

/** The statuses that the clerk of this shop uses. */
export const STATUSES = ["pending", "confirmed", "shipped", "delivered", "cancelled"] as const satisfies readonly OrderStatus[];
