// L2 on Redis, for the clients `ioredis` and `redis`.
//
// An entry is one string: a line with its fence and its tags, then the value. Each operation is one script on one key, so it works on a Redis
// Cluster, too. The script that writes compares the fences, so a writer that was paused cannot replace a newer entry.

import type { L2 } from "./l2.js";

/** The part of `ioredis` that is used: a `Redis` or a `Cluster`. */
export interface IoRedisLike {
  defineCommand: unknown;
  /** Runs a script. */
  eval(script: string, numberOfKeys: number, ...keysAndArguments: string[]): Promise<unknown>;
}

/** The part of `redis` (node-redis) that is used: a client, a pool or a cluster. */
export interface NodeRedisLike {
  /** Runs a script. */
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
}

/** How values are written to Redis. */
export interface Codec {
  /** The text of a value. */
  encode(value: unknown): string;
  /** The value of a text. */
  decode(text: string): unknown;
}

/** The options of `redisL2`. */
export interface RedisL2Options {
  /** The beginning of every key, which should differ from that of the daemon. Default: `tidings-cache:`. */
  readonly prefix?: string | undefined;
  /** Default: JSON, which has no `Date`, `Map` or `undefined` within a value. */
  readonly codec?: Codec | undefined;
}

const GET = "local v = redis.call('GET', KEYS[1]) if not v then return false end return {v, redis.call('PTTL', KEYS[1])}";
// An entry of another epoch is of another log, and so not newer.
const SET = `local old = redis.call('GET', KEYS[1])
if old then
  local epoch, offset = string.match(old, '^(.-) (%d+) ')
  if epoch == ARGV[1] and tonumber(offset) > tonumber(ARGV[2]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3], 'PX', ARGV[4])
return 1`;
const LOCK = "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end return 0";
const EXTEND = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";
const UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/** Epoch, offset, tags; on the next line `v` and the value, or `u` for `undefined`. */
const FORM = /^(\S+) (\d+) (.*)\n([uv][^]*)$/;

const JSON_CODEC: Codec = { encode: (value) => JSON.stringify(value), decode: (text) => JSON.parse(text) };

/** A second level on Redis. Closing the cache does not close the client. */
export function redisL2(client: IoRedisLike | NodeRedisLike, { prefix = "tidings-cache:", codec = JSON_CODEC }: RedisL2Options = {}): L2 {
  const run = (script: string, key: string, ...values: string[]) =>
    "defineCommand" in client
      ? client.eval(script, 1, prefix + key, ...values)
      : client.eval(script, { keys: [prefix + key], arguments: values });
  return {
    async get(key) {
      const found = await run(GET, key);
      if (!Array.isArray(found)) return undefined;
      const ttlMs = Number(found[1]);
      try {
        const [, epoch, offset, tags, value] = FORM.exec(String(found[0]))!;
        const decoded = value!.startsWith("v") ? codec.decode(value!.slice(1)) : undefined;
        return { value: decoded, tags: JSON.parse(tags!) as string[], fence: `${epoch}:${offset}`, ttlMs };
      } catch {
        // Something else is under this key. Redis itself works, so this is no reason to leave it alone for a while.
        return { value: undefined, tags: [], fence: "", ttlMs };
      }
    },
    async set(key, { value, tags, fence, ttlMs }) {
      const colon = fence.lastIndexOf(":");
      const text = `${JSON.stringify(tags)}\n${value === undefined ? "u" : `v${codec.encode(value)}`}`;
      await run(SET, key, fence.slice(0, colon), fence.slice(colon + 1), text, String(Math.ceil(ttlMs)));
    },
    lock: async (key, token, leaseMs) => (await run(LOCK, `lock:${key}`, token, String(leaseMs))) === 1,
    extend: async (key, token, leaseMs) => void (await run(EXTEND, `lock:${key}`, token, String(leaseMs))),
    unlock: async (key, token) => void (await run(UNLOCK, `lock:${key}`, token)),
  };
}
