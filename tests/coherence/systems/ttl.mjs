// A TTL of 5 s and nothing else: nobody is told of a write.

import { LRUCache } from "lru-cache";

export const about = () => ({ title: "TTL of 5 s only" });

export async function open({ load }) {
  const cache = new LRUCache({ max: 10_000, ttl: 5_000, fetchMethod: (key) => load(key) });
  return { read: (key) => cache.fetch(key), invalidate: async () => {} };
}
