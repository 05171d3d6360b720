// What teams write by hand: lru-cache, and ioredis pub/sub that deletes.

import { Redis } from "ioredis";
import { LRUCache } from "lru-cache";

export const about = () => ({ title: "lru-cache + ioredis pub/sub, by hand", bus: "redis" });

export async function open({ bus: port, load }) {
  const cache = new LRUCache({ max: 10_000, ttl: 300_000, fetchMethod: (key) => load(key) });
  const publisher = new Redis(port, "127.0.0.1").on("error", () => {});
  const subscriber = new Redis(port, "127.0.0.1").on("error", () => {});
  subscriber.on("message", (_, key) => cache.delete(key));
  await subscriber.subscribe("invalidate");
  return {
    read: (key) => cache.fetch(key),
    invalidate: (key) => publisher.publish("invalidate", key),
  };
}
