// What the pages show, out of the near cache of this instance.
//
// A value is stored with its tags. The cascades of tidings.toml name the same tags, so an event that changes the data drops the
// value in every instance. A misspelt tag does not compile: `CacheTag` is generated from the cascades.

import type { Cache } from "tidings-client/cache";

import type { CacheTag } from "../shared/generated/events.ts";
import type { Shop } from "./shop.ts";

export class Views {
  readonly #shop: Shop;
  readonly #cache: Cache<CacheTag>;

  constructor(shop: Shop, cache: Cache<CacheTag>) {
    this.#shop = shop;
    this.#cache = cache;
  }

  /**
   * The views as they are at `after` or later: the position of an invalidation that the page has seen.
   *
   * The page may hear of a change before this instance does. Answered from its cache at once, the page would show the old value,
   * and nothing would tell it again. So the instance waits until it has applied the same invalidation; that takes no time, or a
   * few milliseconds. If it does not come, because this instance is cut off from the bus, the view is read without the cache's trust:
   * `bound: 0` proves it or loads it.
   */
  async at(after: string | null) {
    const isThere = after === null || (await this.#cache.reached(after, { timeout: "1s" }));
    const bound = isThere ? undefined : 0;
    const [shop, cache] = [this.#shop, this.#cache];
    return {
      products: () => cache.getOrSet("products", () => shop.products(), { tags: ["products"], bound }),
      product: (id: string) => cache.getOrSet(`product:${id}`, () => shop.product(id), { tags: [`product:${id}`], bound }),
      orders: () => cache.getOrSet("orders", () => shop.orders(), { tags: ["orders"], bound }),
      order: (id: string) => cache.getOrSet(`order:${id}`, () => shop.order(id), { tags: [`order:${id}`], bound }),
      dashboard: () => cache.getOrSet("dashboard", () => shop.dashboard(), { tags: ["dashboard"], bound }),
    };
  }
}
