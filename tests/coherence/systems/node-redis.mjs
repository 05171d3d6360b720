// Client-side caching of node-redis: the data is in Redis, which tells each client what it has read and what has changed.
//
// A writer copies what it has committed to Redis. A load is a question to Redis.

import { createClient } from "redis";

export const about = () => ({ title: "node-redis client-side caching", bus: "redis" });

export async function open({ bus: port, load, truth }) {
  const client = createClient({
    url: `redis://127.0.0.1:${port}`,
    RESP: 3,
    clientSideCache: { ttl: 300_000, maxEntries: 10_000, evictPolicy: "LRU" },
  });
  client.on("error", () => {});
  await client.connect();
  return {
    read: async (key) => {
      const found = await client.get(key);
      if (found !== null) return Number(found);
      const version = await load(key);
      // Not over what a writer has written meanwhile.
      await client.set(key, String(version), { condition: "NX" });
      return version;
    },
    invalidate: (key) => client.set(key, String(truth.version(key))),
    loads: () => client.clientSideCache.stats().missCount,
  };
}
