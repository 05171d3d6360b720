// The database: what is for sale, what was ordered, and which events wait to be published. All instances open the same file.

import Database from "better-sqlite3";
import type { Draft } from "tidings-client";

import type { Change, Dashboard, Order, Product, ProductPage } from "../shared/api.ts";
import type { EventMap, OrderStatus } from "../shared/generated/events.ts";

/** An event as it is published, with the id under which the daemon takes it once. */
export type Event = Draft<EventMap> & { readonly id: string };

/** What a customer or a clerk cannot do, in words for them. */
export class Refusal extends Error {}

const TABLES = `
  CREATE TABLE IF NOT EXISTS product (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, about TEXT NOT NULL, cents INTEGER NOT NULL,
    stock INTEGER NOT NULL CHECK (stock >= 0), sold INTEGER NOT NULL DEFAULT 0
  );
  CREATE TABLE IF NOT EXISTS purchase (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, productId TEXT NOT NULL, customerId TEXT NOT NULL,
    cents INTEGER NOT NULL, status TEXT NOT NULL
  );
  -- Changes that are made. A client that sends one again gets the same answer, and makes no second change.
  CREATE TABLE IF NOT EXISTS done (id TEXT PRIMARY KEY);
  -- AUTOINCREMENT: a number never comes again, so what is deleted up to a number is what was read up to it.
  CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS place (channel TEXT PRIMARY KEY, position TEXT NOT NULL);
`;

export class Shop {
  readonly #database: Database.Database;

  constructor(file: string) {
    this.#database = new Database(file, { timeout: 5_000 });
    this.#database.pragma("journal_mode = WAL");
    this.#database.exec(TABLES);
  }

  // What the pages show

  products(): Product[] {
    return this.#all<Product>("SELECT id, name, cents, stock FROM product ORDER BY rowid");
  }

  product(id: string): ProductPage | undefined {
    return this.#get<ProductPage>("SELECT id, name, cents, stock, about, sold FROM product WHERE id = ?", id);
  }

  /** The newest orders, the newest first. */
  orders(): Order[] {
    return this.#all<Order>("SELECT id, productId, customerId, status FROM purchase ORDER BY number DESC LIMIT 10");
  }

  order(id: string): Order | undefined {
    return this.#get<Order>("SELECT id, productId, customerId, status FROM purchase WHERE id = ?", id);
  }

  dashboard(): Dashboard {
    return this.#get<Dashboard>(`
      SELECT coalesce(sum(cents), 0) AS revenueCents, count(*) AS sold,
        coalesce(sum(status NOT IN ('delivered', 'completed')), 0) AS openOrders,
        (SELECT coalesce(sum(stock), 0) FROM product) AS inStock
      FROM purchase WHERE status NOT IN ('cancelled', 'returned', 'refunded')
    `)!;
  }

  // What customers and clerks do. Each change and its events are one transaction.

  /** Makes a change, unless it is made already. */
  make(change: Change): void {
    this.#once(change.id, () => {
      if (change.do === "buy") this.#buy(change.id, change.productId, change.customerId);
      else if (change.do === "restock") this.#restock(change.id, change.productId, change.pieces);
      else this.#setStatus(change.id, change.orderId, change.status);
    });
  }

  #buy(id: string, productId: string, customerId: string): void {
    const product = this.product(productId);
    if (product === undefined) throw new Refusal(`there is no product ${productId}`);
    if (product.stock === 0) throw new Refusal(`${product.name} is sold out`);
    this.#run("UPDATE product SET stock = stock - 1, sold = sold + 1 WHERE id = ?", productId);
    this.#run(
      "INSERT INTO purchase (id, productId, customerId, cents, status) VALUES (?, ?, ?, ?, 'pending')",
      id, productId, customerId, product.cents,
    );
    const quantities = { oldQuantity: product.stock, newQuantity: product.stock - 1 };
    this.#tell({ id: `${id}:stock`, type: "inventory-change", data: { productId, ...quantities, reason: "sale" } });
    this.#tell({ id: `${id}:order`, type: "order-status", data: { orderId: id, newStatus: "pending", customerId } });
  }

  #restock(id: string, productId: string, pieces: number): void {
    const product = this.product(productId);
    if (product === undefined) throw new Refusal(`there is no product ${productId}`);
    this.#run("UPDATE product SET stock = stock + ? WHERE id = ?", pieces, productId);
    const quantities = { oldQuantity: product.stock, newQuantity: product.stock + pieces };
    this.#tell({ id: `${id}:stock`, type: "inventory-change", data: { productId, ...quantities, reason: "delivery" } });
  }

  #setStatus(id: string, orderId: string, newStatus: OrderStatus): void {
    const order = this.order(orderId);
    if (order === undefined) throw new Refusal(`there is no order ${orderId}`);
    this.#run("UPDATE purchase SET status = ? WHERE id = ?", newStatus, orderId);
    const { status: oldStatus, customerId } = order;
    this.#tell({ id: `${id}:order`, type: "order-status", data: { orderId, oldStatus, newStatus, customerId } });
  }

  /** Books what the warehouse has delivered. The position is saved with it: each delivery counts once. */
  deliver(id: string, productId: string, pieces: number, position: string): void {
    this.#once(id, () => this.#restock(id, productId, pieces));
    this.setPosition("delivery", position);
  }

  // What waits to be published

  /** The oldest events that wait, and the number of the last of them. */
  waitingEvents(limit: number): { events: Event[]; last: number } {
    const rows = this.#all<{ number: number; event: string }>("SELECT number, event FROM outbox ORDER BY number LIMIT ?", limit);
    return { events: rows.map(({ event }) => JSON.parse(event) as Event), last: rows.at(-1)?.number ?? 0 };
  }

  published(last: number): void {
    this.#run("DELETE FROM outbox WHERE number <= ?", last);
  }

  countWaiting(): number {
    return this.#get<{ count: number }>("SELECT count(*) AS count FROM outbox")!.count;
  }

  // How far a channel was read

  position(channel: string): string | undefined {
    return this.#get<{ position: string }>("SELECT position FROM place WHERE channel = ?", channel)?.position;
  }

  setPosition(channel: string, position: string): void {
    this.#run("INSERT INTO place VALUES (?, ?) ON CONFLICT (channel) DO UPDATE SET position = excluded.position", channel, position);
  }

  // How the first data comes in

  /** Adds products and orders. Nobody is told: nobody has seen anything yet. */
  fill(products: readonly ProductPage[], orders: readonly Order[]): void {
    this.#database.transaction(() => {
      for (const { id, name, about, cents, stock, sold } of products) {
        this.#run("INSERT INTO product VALUES (?, ?, ?, ?, ?, ?)", id, name, about, cents, stock, sold);
      }
      for (const { id, productId, customerId, status } of orders) {
        this.#run(
          "INSERT INTO purchase (id, productId, customerId, cents, status) SELECT ?, id, ?, cents, ? FROM product WHERE id = ?",
          id, customerId, status, productId,
        );
      }
    })();
  }

  close(): void {
    this.#database.close();
  }

  #once(id: string, change: () => void): void {
    // `immediate`: what is read in the transaction is still so when it writes.
    this.#database.transaction(() => {
      if (this.#run("INSERT OR IGNORE INTO done VALUES (?)", id) > 0) change();
    }).immediate();
  }

  #tell(event: Event): void {
    this.#run("INSERT INTO outbox (event) VALUES (?)", JSON.stringify(event));
  }

  #all<Row>(sql: string, ...values: unknown[]): Row[] {
    return this.#database.prepare<unknown[], Row>(sql).all(...values);
  }

  #get<Row>(sql: string, ...values: unknown[]): Row | undefined {
    return this.#database.prepare<unknown[], Row>(sql).get(...values);
  }

  #run(sql: string, ...values: unknown[]): number {
    return this.#database.prepare(sql).run(...values).changes;
  }
}
