// cacheable with tags: memory and Redis; the versions of the tags are read from Redis for every hit.

import { createKeyv } from "@keyv/redis";
import { Cacheable } from "cacheable";

export const about = () => ({ title: "cacheable, L1 + L2, tags", l2: true });

export async function open({ l2, load }) {
  const secondary = createKeyv(`redis://127.0.0.1:${l2}`);
  secondary.on("error", () => {});
  const cache = new Cacheable({ secondary, tags: true, ttl: "5m" });
  cache.on("error", () => {});
  const loading = new Map();
  const fill = async (key) => {
    const version = await load(key);
    await cache.set(key, version, { ttl: "5m", tags: [`row:${key}`] });
    return version;
  };
  return {
    // `getOrSet` takes no tags. One load at a time for a key, as with the others.
    read: async (key) => {
      const found = await cache.get(key);
      if (found !== undefined) return found;
      if (!loading.has(key)) loading.set(key, fill(key).finally(() => loading.delete(key)));
      return loading.get(key);
    },
    invalidate: (key) => cache.tags.invalidateTag(`row:${key}`),
  };
}
