// What the package costs a page: bundled with only what is imported, minified, gzipped.

import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { rolldown } from "rolldown";
import { expect, test } from "vitest";

/** The size of a program in bytes. */
async function size(program: string): Promise<number> {
  const entry = "\0program";
  const dist = (name: string) => fileURLToPath(new URL(`../dist/${name}.js`, import.meta.url));
  const bundle = await rolldown({
    input: entry,
    platform: "browser",
    plugins: [
      {
        name: "program",
        resolveId: (id) => (id === entry ? id : id === "tidings-client" ? dist("index") : id === "tidings-client/cache" ? dist("cache") : null),
        load: (id) => (id === entry ? program : null),
      },
    ],
  });
  const { output } = await bundle.generate({ format: "esm", minify: true });
  await bundle.close();
  return gzipSync(output[0].code, { level: 9 }).length;
}

test("the client is at most 12 KB, and the cache at most 8 KB more", async () => {
  const core = await size('import { connect } from "tidings-client"; globalThis.x = connect;');
  const both = await size('import { connect } from "tidings-client"; import { createCache, redisL2 } from "tidings-client/cache"; globalThis.x = [connect, createCache, redisL2];');
  const withoutRedis = await size('import { connect } from "tidings-client"; import { createCache } from "tidings-client/cache"; globalThis.x = [connect, createCache];');
  console.log(`core ${core}, with the cache ${withoutRedis}, with Redis ${both}`);
  expect(core).toBeLessThanOrEqual(12 * 1024);
  expect(withoutRedis - core).toBeLessThanOrEqual(8 * 1024);
  // L2 is for servers.
  expect(both - withoutRedis).toBeLessThanOrEqual(1024);
  // Who imports no part of it does not pay for it.
  expect(withoutRedis).toBeLessThan(both);
  expect(await size('import { ERROR_CODES } from "tidings-client"; globalThis.x = ERROR_CODES;')).toBeLessThan(core / 2);
});
