// The near cache, `tidings-client/cache`. Start with `createCache`.

export { createCache } from "./cache.js";
export type { Duration } from "./duration.js";
export type { CacheEventName, CacheEvents, CacheStats } from "./events.js";
export type { L2, L2Entry } from "./l2.js";
export { type Codec, type IoRedisLike, type NodeRedisLike, redisL2, type RedisL2Options } from "./redis.js";
export type { CacheBus } from "./source.js";
export type {
  Cache,
  CacheOptions,
  GetOptions,
  InvalidateWhat,
  LoadContext,
  Loader,
  LockOptions,
  PutOptions,
  VerifyOptions,
  WrapOptions,
} from "./types.js";
