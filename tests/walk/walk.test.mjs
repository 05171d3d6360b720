// The walk of a new user: docs/live-page.md, done as it stands there.
//
// Its commands are run, and its files are written, in a scratch folder with a copy of what the repository has under version
// control. Only the ports are others. The pages are opened in Chromium. Vite and React come from the npm registry, in the versions
// that a new user gets today: so this is no part of `make test`.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BINARY = process.env.TIDINGS_BIN ?? join(ROOT, "target/debug/tidings");
const { chromium } = createRequire(join(ROOT, "clients/typescript/package.json"))("playwright-core");
/** How long a command or a page may take, in milliseconds. Only for when it never comes to an end. */
const LIMIT_MS = 300_000;

const DOCUMENT = await readFile(join(ROOT, "docs/live-page.md"), "utf8");
/** By heading: the blocks of code, in order. */
const SECTIONS = new Map(
  DOCUMENT.split(/^## /m).slice(1)
    .map((part) => [part.split("\n", 1)[0], [...part.matchAll(/^```(\w+)\n([^]*?)^```$/gm)].map(([, language, code]) => ({ language, code }))]),
);

/** What runs until it is ended, by the beginning of its command. */
const SERVERS = ["tidings serve", "npm run dev", "npm run preview", "node server.mjs"];
/** By the beginning of its command: the end of what runs. */
const running = new Map();
const errors = [];
let scratch;
let folder;
let ports;
let browser;
let page;
/** The address of the page that was served last. */
let address;
let sockets = 0;

before(async () => {
  scratch = folder = await mkdtemp(join(tmpdir(), "tidings-walk-"));
  ports = { 7400: await freePort(), 5173: await freePort(), 4173: await freePort(), 3000: await freePort() };
  const files = (await command(`git -C '${ROOT}' ls-files clients/typescript`)).trim().split("\n");
  for (const file of files) {
    await mkdir(dirname(join(scratch, "tidings", file)), { recursive: true });
    await cp(join(ROOT, file), join(scratch, "tidings", file));
  }
  await mkdir(join(scratch, "bin"));
  await symlink(BINARY, join(scratch, "bin/tidings"));
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM_BIN ?? "/usr/bin/chromium", args: ["--disable-gpu"] });
});

after(async () => {
  await browser?.close();
  for (const end of running.values()) await end();
  await rm(scratch, { recursive: true });
});

test("a live page with React, in StrictMode", async () => {
  await follow(SECTIONS.get("The page").filter(({ code }) => !code.startsWith("// src/main.ts\n")));
  assert.match(await readFile(join(folder, "src/main.tsx"), "utf8"), /<StrictMode>/);
  await shows("94 left (open)");
  assert.equal(sockets, 1);
  await command("npm run build");
});

test("the same without React", async () => {
  const blocks = SECTIONS.get("The page");
  const react = folder;
  folder = scratch;
  const [pack, ...rest] = blocks[0].code.trim().split("\n");
  assert.match(pack, /npm pack/);
  const made = rest.join("\n").replace("react-ts", "vanilla-ts").replaceAll("shop-page", "plain-page");
  const main = blocks.find(({ code }) => code.startsWith("// src/main.ts\n"));
  const [dev, publish] = [/^npm run dev/, /^tidings publish/].map((begin) => blocks.find(({ code }) => begin.test(code)));
  await follow([{ language: "sh", code: made }, main, dev, publish]);
  await shows("94 left");
  await command("npm run build");
  folder = react;
});

test("own types, tokens, and what is built", async () => {
  for (const name of ["Types of your own", "Tokens", "Build"]) await follow(SECTIONS.get(name));
  await shows("93 left, 1999 cents (open)");
  assert.equal(sockets, 1);
});

test("no page has reported an error", () => assert.deepEqual(errors, []));

/** Does what the blocks say. */
async function follow(blocks) {
  for (const { language, code: original } of blocks) {
    const code = Object.entries(ports).reduce((text, [port, own]) => text.replaceAll(port, own), original);
    if (language !== "sh") {
      const [, name] = /^\/\/ (\S+)\n/.exec(code) ?? assert.fail(`a block of ${language} names no file:\n${code}`);
      await writeFile(join(folder, name), code);
      continue;
    }
    for (const line of code.includes("<<") ? [code] : code.trim().split("\n")) {
      const server = SERVERS.find((begin) => line.startsWith(begin));
      if (line.startsWith("cd ")) folder = join(folder, line.slice(3));
      else if (server) await serve(server, line);
      else {
        // The events are for a page that is there.
        if (line.startsWith("tidings publish") && page === undefined) await open();
        await command(line);
      }
    }
  }
}

/** Runs a command to its end. Returns what it prints. */
async function command(line) {
  const child = start(line);
  const code = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
    setTimeout(() => process.kill(-child.pid), LIMIT_MS).unref();
  });
  assert.equal(code, 0, `${line}\n${child.output}`);
  return child.output;
}

/** Starts what runs until it is ended, instead of what was started by the same command before. */
async function serve(name, line) {
  // A page that is left open would report that its daemon is gone.
  await page?.close();
  page = undefined;
  await running.get(name)?.();
  const port = { "npm run dev": 5173, "npm run preview": 4173 }[name];
  const child = start(port === undefined ? line : `${line.replace(/#.*/, "")} -- --port ${ports[port]} --strictPort`);
  const exited = new Promise((resolve) => child.once("close", resolve));
  running.set(name, async () => {
    running.delete(name);
    if (child.exitCode === null) process.kill(-child.pid);
    await exited;
  });
  const url = `http://localhost:${ports[port ?? (name === "tidings serve" ? 7400 : 3000)]}`;
  const path = { "tidings serve": "/readyz", "node server.mjs": "/api/bus-token" }[name] ?? "/";
  await until(async () => {
    assert.equal(child.exitCode, null, `${line}\n${child.output}`);
    return (await fetch(url + path).catch(() => undefined))?.ok;
  }, () => `${line} does not answer at ${url}${path}\n${child.output}`);
  if (port !== undefined) address = url;
}

function start(line) {
  const env = {
    ...process.env,
    PATH: `${join(scratch, "bin")}${delimiter}${process.env.PATH}`,
    TIDINGS_LISTEN: `127.0.0.1:${ports[7400]}`,
    TIDINGS_URL: `http://127.0.0.1:${ports[7400]}`,
    npm_config_yes: "true",
    npm_config_audit: "false",
    npm_config_fund: "false",
  };
  // A group of its own: npm starts others.
  const child = spawn("bash", ["-ec", line], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  child.output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (child.output += chunk));
  return child;
}

/** Opens the page, and waits until it is connected. */
async function open() {
  page = await browser.newPage();
  sockets = 0;
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("websocket", (socket) => socket.url().includes("/v1/ws") && sockets++);
  await page.goto(address);
  const isOpen = async () => (await page.textContent("body")).includes("(open)") || (await page.locator("#app[title=open]").count()) > 0;
  await until(isOpen, async () => `the page is not connected: ${await page.textContent("body")}\n${errors.join("\n")}`);
}

/** Waits until the page shows a text. */
async function shows(text) {
  await until(async () => (await page.textContent("body")).includes(text), async () => `${text} is not in ${await page.textContent("body")}`);
}

async function until(isTrue, explain) {
  for (const end = Date.now() + LIMIT_MS / 10; !(await isTrue()); await new Promise((resolve) => setTimeout(resolve, 50))) {
    if (Date.now() > end) assert.fail(await explain());
  }
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return String(port);
}
