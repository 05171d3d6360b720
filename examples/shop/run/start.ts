// Starts the shop: the daemon, two instances, and the page. Ctrl-C ends all of it.
//
//   BROKER=redis://127.0.0.1:6379   the daemon keeps its events in Redis, not in its memory
//   PORT=7480                       the page's port; the instances and the daemon have the next three. 0: free ones
//   TIDINGS_BIN=…                   the daemon; by default the release build of this repository, or its debug build

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { createServer, type ViteDevServer } from "vite";

import { fill } from "../server/fixtures.ts";
import { findPort } from "./ports.ts";
import { Process } from "./process.ts";

const SHOP = fileURLToPath(new URL("..", import.meta.url));
process.chdir(SHOP);

function findDaemon(): string {
  const { TIDINGS_BIN } = process.env;
  const found = [TIDINGS_BIN, "../../target/release/tidings", "../../target/debug/tidings"].find((file) => file && existsSync(file));
  if (found === undefined) throw new Error("there is no daemon: run `make release`, or set TIDINGS_BIN");
  return found;
}

const daemon = findDaemon();
const { BROKER = "memory", PORT = "7480" } = process.env;
const ports: number[] = [];
// Port 0 is any free one.
for (let index = 0; index < 4; index++) ports.push(await findPort(PORT === "0" ? 0 : Number(PORT) + index));
const [page, a, b, bus] = ports.map((port) => `http://127.0.0.1:${port}`);

const folder = mkdtempSync(join(tmpdir(), "tidings-shop-"));
const janitor: ChildProcess = fork(join(SHOP, "run/janitor.mjs"), [folder], { detached: true });
const database = join(folder, "shop.db");
fill(database);

const processes: Process[] = [];
const changed = () => {
  if (janitor.connected) janitor.send({ pids: processes.map(({ pid }) => pid).filter((pid) => pid !== undefined) });
};

function start(name: string, command: string, args: string[], env: NodeJS.ProcessEnv = {}): void {
  processes.push(new Process({ name, command, args, env: { ...process.env, ...env } }, changed));
  changed();
}

function startInstance(name: string, port: number): void {
  const env = { SHOP_PORT: String(port), SHOP_DATABASE: database, SHOP_PAGE: page, TIDINGS_URL: bus };
  start(name, process.execPath, ["--import", "tsx", "server/main.ts"], env);
}

// TIDINGS_BIN is no setting of the daemon, which would say so.
start("tidings", daemon, ["serve", "--config", "tidings.toml", "--listen", `127.0.0.1:${ports[3]}`, "--broker", BROKER], { TIDINGS_BIN: undefined });
startInstance("shop-a", ports[1]!);
startInstance("shop-b", ports[2]!);

/** The page's server: Vite, with the addresses of the others, and a route that kills them. */
async function startPage(): Promise<ViteDevServer> {
  const server = await createServer({
    server: { port: ports[0]!, strictPort: true, host: "127.0.0.1" },
    define: { SHOP: JSON.stringify({ instances: { a, b }, bus }) },
    plugins: [{
      name: "break",
      configureServer: ({ middlewares }) => void middlewares.use("/break/", (request, response) => {
        const found = processes.find(({ name }) => request.url === `/${name}`);
        // A page of another site must not kill anything.
        const isAllowed = request.method === "POST" && request.headers["sec-fetch-site"] === "same-origin";
        if (isAllowed) found?.kill();
        response.writeHead(isAllowed && found ? 204 : 404).end();
      }),
    }],
  });
  return server.listen();
}

let vite: ViteDevServer | undefined;
let ending: Promise<void> | undefined;

/** Ends everything. The janitor removes the folder. */
async function end(): Promise<void> {
  await Promise.all([...processes.map((process) => process.end()), vite?.close()]);
  if (janitor.connected) janitor.disconnect();
  if (janitor.exitCode === null) await once(janitor, "exit");
  process.exit();
}
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => (ending ??= end()));
// If make or the shell is killed, there is no signal.
const parent = process.ppid;
setInterval(() => process.ppid === parent || (ending ??= end()), 500);

vite = await startPage();
const isUp = (url: string) => fetch(url).then(({ ok }) => ok, () => false);
while (!(await isUp(`${bus}/readyz`)) || !(await isUp(`${a}/stats`)) || !(await isUp(`${b}/stats`))) {
  await new Promise((resolve) => setTimeout(resolve, 50));
}
console.log(`\nThe shop is open: ${page}\n  daemon ${bus} on ${BROKER.replace(/\/\/[^/]*@/, "//")}, instances ${a} and ${b}\n  Ctrl-C ends it\n`);
