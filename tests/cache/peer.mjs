// An instance of the TypeScript cache, for the tests of the Rust cache: both share one L2.
//
// node peer.mjs BUS_URL REDIS_URL PREFIX, and one JSON command a line on stdin. Each is answered by a line on stdout:
//   {"read": KEY, "value": VALUE, "tags": [...]}   reads; `value` is what the loader returns. Without it, that is `undefined`
//   {"write": KEY, "entry": ENTRY}                 writes to L2 itself
//   {"find": KEY}                                  reads from L2 itself
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const client = new URL("../../clients/typescript/", import.meta.url);
const { connect } = await import(new URL("dist/index.js", client));
const { createCache, redisL2 } = await import(new URL("dist/cache.js", client));
const { Redis } = createRequire(new URL("package.json", client))("ioredis");

const [busUrl, redisUrl, prefix] = process.argv.slice(2);
const redis = new Redis(redisUrl);
const l2 = redisL2(redis, { prefix });
const bus = connect(busUrl);
const cache = createCache({ bus, ttl: "5m", maxEntries: 1_000, l2 });
await bus.sync();

const commands = {
  async read({ read: key, value, tags }) {
    const before = cache.stats().hitsL2;
    const found = await cache.getOrSet(key, () => value, { tags });
    return { value: found ?? null, isFromL2: cache.stats().hitsL2 > before };
  },
  async write({ write: key, entry }) {
    await l2.set(key, entry);
    return {};
  },
  async find({ find: key }) {
    const entry = await l2.get(key);
    return { ...entry, isUndefined: entry !== undefined && entry.value === undefined };
  },
};
for await (const line of createInterface(process.stdin)) {
  const command = JSON.parse(line);
  console.log(JSON.stringify(await commands[Object.keys(command)[0]](command)));
}
await cache.close();
bus.close();
await redis.quit();
