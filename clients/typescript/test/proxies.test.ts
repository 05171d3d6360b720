// The client behind proxies that compress and buffer: an event arrives when it is published, not with the next one.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as listen } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import compression from "compression";
import express from "express";
import { createProxyMiddleware } from "http-proxy-middleware";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { type Bus, connect, type Transport } from "../src/index.js";
import { Daemon } from "./daemon.js";

let daemon: Daemon;

beforeAll(async () => {
  daemon = await Daemon.start();
});

afterAll(async () => {
  await daemon?.kill();
});

async function freePort(): Promise<number> {
  const server = listen();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts a server with a file of settings, and waits until the daemon answers through it. Returns its URL. */
async function behind(settings: (port: number) => string, command: (file: string) => readonly [string, ...string[]]): Promise<string> {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "tidings-proxy-"));
  const file = join(folder, "settings");
  await writeFile(file, settings(port));
  const [program, ...args] = command(file);
  // Debian keeps servers where the PATH of a plain user does not look.
  const env = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin`, HOME: folder };
  const child: ChildProcess = spawn(program, args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout!.on("data", (chunk) => (output += chunk));
  child.stderr!.on("data", (chunk) => (output += chunk));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
    await rm(folder, { recursive: true });
  });
  const url = `http://127.0.0.1:${port}`;
  await expect.poll(async () => (await fetch(`${url}/readyz`).catch(() => undefined))?.status ?? output).toBe(200);
  return url;
}

const nginx = () => {
  const folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${name};`).join(" ");
  return behind(
    (port) => `daemon off; master_process off; pid nginx.pid; error_log stderr;
events {}
http {
  access_log off; ${folders}
  gzip on; gzip_types text/event-stream application/json; gzip_proxied any; gzip_min_length 0;
  server { listen 127.0.0.1:${port}; location / { proxy_pass ${daemon.url}; } }
}`,
    (file) => ["nginx", "-p", join(file, ".."), "-c", file, "-e", "stderr"],
  );
};

const haproxy = () =>
  behind(
    (port) => `defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  compression algo gzip
  compression type text/event-stream application/json
frontend bus
  bind 127.0.0.1:${port}
  default_backend tidings
backend tidings
  server node1 127.0.0.1:${daemon.port}
`,
    (file) => ["haproxy", "-db", "-f", file],
  );

const caddy = () =>
  behind(
    (port) => `{
	admin off
}
http://127.0.0.1:${port} {
	encode {
		gzip
		minimum_length 0
		match {
			header Content-Type text/event-stream*
			header Content-Type application/json*
		}
	}
	reverse_proxy 127.0.0.1:${daemon.port}
}
`,
    (file) => ["caddy", "run", "--adapter", "caddyfile", "--config", file],
  );

/** Express with `compression()`, and a proxy middleware without WebSockets. `forgets`: it removes `no-transform`. */
async function compressing(forgets = false): Promise<string> {
  const app = express();
  app.use(compression({ threshold: 0, filter: () => true }));
  app.use(createProxyMiddleware({
    target: daemon.url,
    on: { proxyRes: ({ headers }) => void (forgets && (headers["cache-control"] = "no-store")) },
  }));
  const server: Server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => (server.closeAllConnections(), void server.close()));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const PROXIES = { "nginx with its defaults and gzip": nginx, "HAProxy with gzip": haproxy, "Caddy with gzip": caddy, "Express with compression()": () => compressing() };

/** A bus that collects numbers. */
function follow(url: string, transports?: Transport[]): { bus: Bus; seen: number[] } {
  const bus = connect(url, { backoff: { minMs: 1, maxMs: 20 }, transports });
  onTestFinished(() => bus.close());
  bus.onError(() => {});
  const seen: number[] = [];
  bus.on("inventory-change", ({ newQuantity }) => seen.push(newQuantity));
  return { bus, seen };
}

const publish = (newQuantity: number) =>
  daemon.publish([{ type: "inventory-change", data: { productId: "1", oldQuantity: 0, newQuantity, reason: "sale" } }]);

test.each(Object.keys(PROXIES) as (keyof typeof PROXIES)[])(
  "%s passes each event on at once, over an event stream and over long-polls",
  async (name) => {
    const url = await PROXIES[name]();
    for (const transport of ["sse", "long-poll"] as const) {
      const { bus, seen } = follow(url, [transport]);
      await bus.ready();
      // Each arrives while the stream stays open, before there is another.
      for (const number of [1, 2, 3]) {
        await publish(number);
        await expect.poll(() => seen.at(-1)).toBe(number);
      }
      expect([seen, bus.state.status, bus.transport]).toEqual([[1, 2, 3], "open", transport]);
      bus.close();
    }
    for (const path of ["/v1/stream?channel=inventory-change", "/v1/events?channel=inventory-change&since=now&wait=0"]) {
      const response = await fetch(`${url}${path}`);
      expect([response.status, response.headers.get("cache-control")]).toEqual([200, "no-store, no-transform"]);
      // nginx and older versions of Caddy compress all the same, and flush each event.
      if (!/nginx|Caddy/.test(name)) expect(response.headers.get("content-encoding")).toBeNull();
      await response.body?.cancel();
    }
  },
);

test("behind nginx with its defaults, which passes on no WebSocket, a bus without options gets its events", async () => {
  const { bus, seen } = follow(await nginx());
  await bus.ready();
  await publish(1);
  await expect.poll(() => seen).toEqual([1]);
  expect(bus.transport).toBe("sse");
});

test("a proxy that compresses against no-transform holds the stream back, and the bus goes on over long-polls", async () => {
  const { bus, seen } = follow(await compressing(true), ["sse", "long-poll"]);
  await bus.ready();
  await expect.poll(() => bus.transport).toBe("long-poll");
  await publish(1);
  await expect.poll(() => seen).toEqual([1]);
});
