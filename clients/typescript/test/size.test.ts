// What the package costs a page: bundled with only what is imported, minified, gzipped.

import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { rolldown } from "rolldown";
import { expect, test } from "vitest";

/** The size of a program in bytes: what a page loads at first, and what it may load later. */
async function sizes(program: string): Promise<{ first: number; later: number }> {
  const entry = "\0program";
  const bundle = await rolldown({
    input: entry,
    platform: "browser",
    plugins: [
      {
        name: "program",
        resolveId: (id) => {
          const name = /^tidings-client(?:\/(.+))?$/.exec(id);
          if (name) return fileURLToPath(new URL(`../dist/${name[1] ?? "index"}.js`, import.meta.url));
          return id === entry ? id : null;
        },
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

const CORE = 'import { connect } from "tidings-client"; globalThis.x = [connect];';
/** The size of a program that imports these from an entry point beside `connect`, without that of the core. */
const added = async (name: string, ...imports: string[]) =>
  (await size(`import { connect } from "tidings-client"; import { ${imports.join(", ")} } from "tidings-client/${name}"; globalThis.x = [${["connect", ...imports].join(", ")}];`)) - (await size(CORE));

test("the client is at most 12 KB, and the cache at most 8 KB more", async () => {
  const core = await size(CORE);
  const [withoutRedis, redis] = [await added("cache", "createCache"), await added("cache", "createCache", "redisL2")];
  // What replaces a WebSocket, and what only Node needs, is loaded by those who need it.
  const { later } = await sizes(CORE);
  expect(later).toBeGreaterThan(2 * 1024);
  expect(later).toBeLessThanOrEqual(12 * 1024);
  console.log(`core ${core}, later ${later}, the cache ${withoutRedis} more, with Redis ${redis}`);
  expect(core).toBeLessThanOrEqual(12 * 1024);
  expect(withoutRedis).toBeLessThanOrEqual(8 * 1024);
  // L2 is for servers.
  expect(redis - withoutRedis).toBeLessThanOrEqual(1024);
  // Who imports no part of it does not pay for it.
  expect(withoutRedis).toBeLessThan(redis);
  expect(await size('import { ERROR_CODES } from "tidings-client"; globalThis.x = ERROR_CODES;')).toBeLessThan(core / 2);
});

test.each([
  ["persist", 3.5, ["localStoragePersistence", "indexedDbPersistence"]],
  ["schema", 1.5, ["defineTypes"]],
  ["schema", 2, ["defineTypes", "writeSchemas"]],
])("tidings-client/%s is at most %d KB more: %s", async (name, limit, imports) => {
  const bytes = await added(name, ...imports);
  console.log(`${name} ${bytes} more`);
  expect(bytes).toBeLessThanOrEqual(limit * 1024);
  expect(bytes).toBeGreaterThan(200);
});

test("a page that needs one of them does not load the other one", async () => {
  const local = await added("persist", "localStoragePersistence");
  expect(local).toBeLessThan(await added("persist", "localStoragePersistence", "indexedDbPersistence"));
});
