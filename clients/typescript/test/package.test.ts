// The package as a user gets it: packed, installed in a new folder, and used by programs of both module systems.
//
// `npm test` builds dist/ first. The new folder has no `ws`, and the programs have no WebSocket of the runtime.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { runInThisContext } from "node:vm";

import ts from "typescript";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import type * as client from "../src/index.js";
import { Daemon } from "./daemon.js";
import { FakeDaemon } from "./fake.js";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const NODE_MODULES = join(ROOT, "node_modules");
const QUIET = ["--no-audit", "--no-fund", "--offline", "--loglevel=error"];
let folder: string;
let tarball: string;

/** Runs a program in the folder. Rejects if it fails, with what it printed. */
async function run(program: string, args: readonly string[], cwd = folder): Promise<string> {
  const { stdout } = await promisify(execFile)(program, args, { cwd, timeout: 60_000 });
  return stdout;
}

/** Runs a script of the folder with Node. */
async function script(name: string, text: string, ...args: string[]): Promise<string> {
  await writeFile(join(folder, name), text);
  return run(process.execPath, [name, ...args]);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tidings-package-"));
  // Without scripts, since another test may read dist/ at this moment.
  const packed = await run("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], ROOT);
  tarball = join(folder, (JSON.parse(packed) as { filename: string }[])[0]!.filename);
  await writeFile(join(folder, "package.json"), '{ "private": true }');
  await run("npm", ["install", ...QUIET, tarball]);
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

test("the package has both builds, their types, the licences, and nothing else", async () => {
  const files = (await run("tar", ["-tf", tarball])).trim().split("\n").map((file) => file.replace("package/", ""));
  const dist = ["index", "cache", "next", "query", "react"].flatMap((name) => [".cjs", ".d.cts", ".d.ts", ".js"].map((end) => `dist/${name}${end}`));
  // What both entry points use is in files of its own, which have a hash in their names.
  const own = files.filter((file) => !/^dist\/\w+-[\w-]+\.(js|cjs|d\.ts|d\.cts)$/.test(file));
  expect(own.sort()).toEqual(["LICENSE-APACHE", "LICENSE-MIT", "README.md", ...dist, "package.json"].sort());
  for (const build of ["index", "cache", "query", "react"].flatMap((name) => [`${name}.js`, `${name}.cjs`])) {
    // A bundler would look for `ws`, which browsers do not need.
    const code = await readFile(join(ROOT, "dist", build), "utf8");
    expect(code).not.toMatch(/(import|require)\(\s*("|')ws/);
    // Nor for a module of Node.
    expect(code).not.toMatch(/(from\s*|(import|require)\(\s*)("|')node:/);
  }
});

const PROGRAM = `
delete globalThis.WebSocket;
const bus = connect(process.argv[2]);
bus.publish("order-status", { orderId: "1", newStatus: "shipped" }).then(({ position }) => console.log(position));
`;

test.each([
  ["publish.mjs", `import { connect } from "tidings-client";${PROGRAM}`],
  ["publish.cjs", `const { connect } = require("tidings-client");${PROGRAM}`],
])("%s publishes without a WebSocket and without ws, and ends by itself", async (name, text) => {
  const daemon = await FakeDaemon.start();
  onTestFinished(() => daemon.stop());
  expect(await script(name, text, daemon.url)).toBe("e:1\n");
});

test.each([
  ["subscribe.mjs", 'import { connect } from "tidings-client";'],
  ["subscribe.cjs", 'const { connect } = require("tidings-client");'],
])("%s without a WebSocket names the package to install, if it may use nothing else", async (name, head) => {
  const text = `${head}
delete globalThis.WebSocket;
const bus = connect("http://127.0.0.1:7400", { transports: ["websocket"] });
bus.onError((error) => console.log(error.code, error.message));
bus.on("order-status", () => {});`;
  expect(await script(name, text)).toMatch(/^no-websocket .*npm install ws/);
});

test.each([
  ["stream.mjs", 'import { connect } from "tidings-client";'],
  ["stream.cjs", 'const { connect } = require("tidings-client");'],
])("%s without a WebSocket and without ws gets its events over an event stream", async (name, head) => {
  const daemon = await Daemon.start();
  onTestFinished(() => daemon.kill());
  const text = `${head}
delete globalThis.WebSocket;
const bus = connect(process.argv[2]);
bus.on("order-status", ({ orderId }) => (console.log(bus.transport, orderId), bus.close()));
// The event may come before the answer, which the bus does not wait for any more then.
bus.ready().then(() => bus.publish("order-status", { orderId: "7", newStatus: "shipped" })).catch(() => {});`;
  expect(await script(name, text, daemon.url)).toBe("sse 7\n");
});

test.each([
  ["cache.mjs", 'import { connect, TidingsError } from "tidings-client"; import { createCache } from "tidings-client/cache";'],
  ["cache.cjs", 'const { connect, TidingsError } = require("tidings-client"); const { createCache } = require("tidings-client/cache");'],
])("%s caches without a daemon, and ends by itself", async (name, head) => {
  const text = `${head}
delete globalThis.WebSocket;
const bus = connect("http://127.0.0.1:1");
bus.onError(() => {});
const cache = createCache({ bus, ttl: "1m", maxEntries: 10 });
cache.getOrSet("a", () => 1).then(async () => {
  console.log(await cache.getOrSet("a", () => 2));
  await cache.close();
  // One class for both entry points.
  console.log(await cache.getOrSet("a", () => 3).catch((error) => error instanceof TidingsError && error.code));
  bus.close();
});`;
  expect(await script(name, text)).toBe("1\nclosed\n");
});

test("the CommonJS build loads ws where import() is refused, as in Jest", async () => {
  const daemon = await FakeDaemon.start();
  const required: string[] = [];
  const { WebSocket } = await import("ws");
  const load = (file: string): typeof client => {
    // As Jest does: without a callback for import(), and with a `require` of its own. Not the WebSocket of the runtime.
    const wrapper = runInThisContext(`(function (module, exports, require, WebSocket) {${readFileSync(file, "utf8")}\n})`) as (...args: unknown[]) => void;
    const own = (name: string) => (name.startsWith(".") ? load(join(dirname(file), name)) : createRequire(file)(name));
    const module = { exports: {} as typeof client, require: (name: string) => (required.push(name), { WebSocket }) };
    wrapper(module, module.exports, own, undefined);
    return module.exports;
  };
  const { connect } = load(join(folder, "node_modules/tidings-client/dist/index.cjs"));
  const bus = connect(daemon.url);
  bus.on("order-status", () => {});
  (await daemon.connection()).welcome();
  await expect.poll(() => bus.state.status).toBe("open");
  expect(required).toEqual(["ws"]);
  bus.close();
  await daemon.stop();
});

const STRICT = {
  target: "ES2022", lib: ["ES2022", "DOM"], types: [], noEmit: true, skipDefaultLibCheck: true,
  strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noPropertyAccessFromIndexSignature: true,
  noImplicitOverride: true, noImplicitReturns: true, noFallthroughCasesInSwitch: true, noUnusedLocals: true,
  noUnusedParameters: true, allowUnreachableCode: false, isolatedModules: true, forceConsistentCasingInFileNames: true,
};

/** The libraries of TypeScript, which all programs share. */
const libraries = new Map<string, ts.SourceFile | undefined>();

/** What the compiler says about the program in a folder. */
function compile(program: string, compilerOptions: object): string {
  const { options, errors } = ts.convertCompilerOptionsFromJson({ ...STRICT, ...compilerOptions }, program);
  const host = ts.createCompilerHost(options);
  const { getSourceFile } = host;
  host.getSourceFile = (name, ...rest) => {
    if (!/\/lib\.[^/]+\.d\.ts$/.test(name)) return getSourceFile(name, ...rest);
    if (!libraries.has(name)) libraries.set(name, getSourceFile(name, ...rest));
    return libraries.get(name);
  };
  const diagnostics = ts.getPreEmitDiagnostics(ts.createProgram([join(program, "strict.ts")], options, host));
  return ts.formatDiagnostics([...errors, ...diagnostics], host);
}

test.each([
  ["node16 in a CommonJS package", "commonjs", { module: "Node16", moduleResolution: "Node16" }],
  ["node16 in an ES module package", "module", { module: "Node16", moduleResolution: "Node16", verbatimModuleSyntax: true }],
  ["nodenext in a CommonJS package", "commonjs", { module: "NodeNext", moduleResolution: "NodeNext" }],
  ["bundler", "module", { module: "ESNext", moduleResolution: "bundler", verbatimModuleSyntax: true, isolatedDeclarations: true, declaration: true }],
  ["node10", "commonjs", { module: "CommonJS", moduleResolution: "node10" }],
])("a program with the generated types compiles with every strict setting: %s", async (name, type, options) => {
  const program = join(folder, name.replaceAll(" ", "-"));
  await mkdir(program);
  await cp(join(ROOT, "test/consumer/strict.ts"), join(program, "strict.ts"));
  await cp(join(ROOT, "test/own/events.ts"), join(program, "events.ts"));
  await writeFile(join(program, "package.json"), JSON.stringify({ type }));
  expect(compile(program, options)).toBe("");
  // The compiler does find the types: a mistake is one.
  await writeFile(join(program, "strict.ts"), 'import { connect } from "tidings-client";\nconnect(7);');
  expect(compile(program, options)).toContain("TS2345");
});

test("an installation of the folder of a checkout builds the client", async () => {
  const [checkout, app] = [join(folder, "checkout"), join(folder, "app")];
  await mkdir(checkout);
  await mkdir(app);
  for (const name of ["src", "scripts", "package.json", "package-lock.json", "tsconfig.json", "tsdown.config.ts"]) {
    await cp(join(ROOT, name), join(checkout, name), { recursive: true });
  }
  // Spares the download of the build's packages; scripts/prepare.mjs installs them where they are missing.
  await symlink(NODE_MODULES, join(checkout, "node_modules"));
  await writeFile(join(app, "package.json"), '{ "private": true }');
  await run("npm", ["install", ...QUIET, checkout], app);
  await writeFile(join(app, "app.cjs"), 'console.log(typeof require("tidings-client").connect)');
  expect(await run(process.execPath, ["app.cjs"], app)).toBe("function\n");
});
