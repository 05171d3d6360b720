// bentocache as its documentation shows it: memory, Redis, and the Redis bus.

import { BentoCache, bentostore } from "bentocache";
import { memoryDriver } from "bentocache/drivers/memory";
import { redisBusDriver, redisDriver } from "bentocache/drivers/redis";

export const about = () => ({ title: "bentocache, L1 + L2 + bus", bus: "redis", l2: true });

export async function open({ bus, l2, load }) {
  const connection = (port) => ({ host: "127.0.0.1", port });
  const store = bentostore()
    .useL1Layer(memoryDriver({ maxItems: 10_000 }))
    .useL2Layer(redisDriver({ connection: connection(l2) }))
    .useBus(redisBusDriver({ connection: connection(bus) }));
  const cache = new BentoCache({ default: "multi", ttl: "5m", stores: { multi: store } });
  return {
    read: (key) => cache.getOrSet({ key, factory: () => load(key) }),
    invalidate: (key) => cache.delete({ key }),
  };
}
