// The cache handlers for Next.js 16, `tidings-client/next`.

export { createNextHandler, type NextHandler } from "./handler.js";
export type { NextHandlerOptions } from "./coherence.js";
export type { IncrementalCacheHandler, NextCacheContext, NextCacheControl, NextCacheEntry, NextCacheValue, UseCacheHandler } from "./types.js";
