// The first data of the shop. Stock and orders are events that `npm run fixtures` made with `tidings trigger`.

import { readFileSync } from "node:fs";

import type { Order, ProductPage } from "../shared/api.ts";
import type { Delivery, OrderStatusChange } from "../shared/generated/events.ts";
import { Shop } from "./shop.ts";

const PRODUCTS: readonly Omit<ProductPage, "stock" | "sold">[] = [
  { id: "desk-lamp", name: "Desk lamp", cents: 4_900, about: "Warm light, and an arm that stays where it is put." },
  { id: "tea-kettle", name: "Tea kettle", cents: 3_450, about: "Steel, 1.2 litres, whistles when the water boils." },
  { id: "notebook", name: "Notebook", cents: 1_200, about: "160 dotted pages that lie flat." },
  { id: "headphones", name: "Headphones", cents: 12_900, about: "Quiet inside, thirty hours on a charge." },
  { id: "backpack", name: "Backpack", cents: 7_900, about: "Twenty litres, dry in the rain." },
  { id: "espresso-cup", name: "Espresso cup", cents: 950, about: "Thick porcelain that keeps the heat." },
];

/** The data of the events of a file, one JSON object a line. */
function dataOf<Data>(file: string): Data[] {
  const text = readFileSync(new URL(`../fixtures/${file}`, import.meta.url), "utf8");
  return text.trim().split("\n").map((line) => (JSON.parse(line) as { data: Data }).data);
}

/** Fills a new database. */
export function fill(file: string): void {
  const deliveries = dataOf<Delivery>("deliveries.ndjson");
  const stock = (id: string) => deliveries.reduce((sum, { productId, pieces }) => sum + (productId === id ? pieces : 0), 0);
  const orders = dataOf<OrderStatusChange>("orders.ndjson").map(({ orderId, newStatus, customerId = "guest" }, index): Order => ({
    id: orderId, productId: PRODUCTS[index % PRODUCTS.length]!.id, customerId, status: newStatus,
  }));
  const sold = (id: string) => orders.filter(({ productId }) => productId === id).length;
  const shop = new Shop(file);
  shop.fill(PRODUCTS.map((product) => ({ ...product, stock: stock(product.id), sold: sold(product.id) })), orders);
  shop.close();
}
