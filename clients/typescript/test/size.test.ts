// What the package costs a page: bundled with only what is imported, minified, gzipped.

import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { rolldown } from "rolldown";
import { expect, test } from "vitest";

/** The size of a program in bytes: what a page loads at first, and what it may load later. */
async function sizes(program: string): Promise<{ first: number; later: number }> {
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
  const chunks = output.flatMap((chunk) => (chunk.type === "chunk" ? [chunk] : []));
  const needed = new Set<string>();
  const need = (name: string) => {
    if (needed.has(name)) return;
    needed.add(name);
    chunks.find(({ fileName }) => fileName === name)?.imports.forEach(need);
  };
  need(output[0].fileName);
  const bytes = (isFirst: boolean) => {
    const some = chunks.filter(({ fileName }) => needed.has(fileName) === isFirst);
    return some.reduce((sum, { code }) => sum + gzipSync(code, { level: 9 }).length, 0);
  };
  return { first: bytes(true), later: bytes(false) };
}

const size = async (program: string) => (await sizes(program)).first;

test("the client is at most 12 KB, and the cache at most 8 KB more", async () => {
  const core = await size('import { connect } from "tidings-client"; globalThis.x = connect;');
  const both = await size('import { connect } from "tidings-client"; import { createCache, redisL2 } from "tidings-client/cache"; globalThis.x = [connect, createCache, redisL2];');
  const withoutRedis = await size('import { connect } from "tidings-client"; import { createCache } from "tidings-client/cache"; globalThis.x = [connect, createCache];');
  const { later } = await sizes('import { connect } from "tidings-client"; globalThis.x = connect;');
  // What replaces a WebSocket, and what only Node needs, is loaded by those who need it.
  expect(later).toBeGreaterThan(2 * 1024);
  expect(later).toBeLessThanOrEqual(8 * 1024);
  console.log(`core ${core}, later ${later}, with the cache ${withoutRedis}, with Redis ${both}`);
  expect(core).toBeLessThanOrEqual(12 * 1024);
  expect(withoutRedis - core).toBeLessThanOrEqual(8 * 1024);
  // L2 is for servers.
  expect(both - withoutRedis).toBeLessThanOrEqual(1024);
  // Who imports no part of it does not pay for it.
  expect(withoutRedis).toBeLessThan(both);
  expect(await size('import { ERROR_CODES } from "tidings-client"; globalThis.x = ERROR_CODES;')).toBeLessThan(core / 2);
});
