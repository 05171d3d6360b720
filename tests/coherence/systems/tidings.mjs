// The near cache of tidings-client: L1 alone, with another bound, and with L2 on Redis.

import { Redis } from "ioredis";

import { eventually, sleep } from "../truth.mjs";

const dist = new URL("../../../clients/typescript/dist/", import.meta.url);
const { connect } = await import(new URL("index.js", dist));
const { createCache, redisL2 } = await import(new URL("cache.js", dist));

const TITLES = {
  "tidings": "tidings, L1",
  "tidings-500ms": "tidings, L1, `bound` 500 ms",
  "tidings-l2": "tidings, L1 + L2",
};

export const about = (name) => ({
  title: TITLES[name],
  bus: "daemon",
  l2: name === "tidings-l2",
  isOwn: true,
  boundMs: name === "tidings-500ms" ? 500 : 2_000,
});

export async function open({ bus: port, l2: l2Port, load, isWriter }, name) {
  const bus = connect(`http://127.0.0.1:${port}`);
  bus.onError(() => {});
  const { boundMs: bound, l2: hasL2 } = about(name);
  const redis = hasL2 && new Redis(l2Port, "127.0.0.1").on("error", () => {});
  const cache = createCache({ bus, bound, ttl: "5m", maxEntries: 10_000, ...(redis && { l2: redisL2(redis) }) });
  await eventually(() => bus.sync());
  if (!isWriter) await sleep(10);
  const lock = hasL2 && { wait: "500ms", lease: "1s" };
  return {
    read: (key) => cache.getOrSet(key, () => load(key), { tags: [`row:${key}`], lock }),
    invalidate: (key) => cache.invalidate({ tags: [`row:${key}`] }),
    mutate: (key, write) => cache.mutate({ tags: [`row:${key}`] }, write),
  };
}
