// Runs the commands of docs/migration.md, step by step, and counts what every reader gets.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import net from "node:net";
import { delimiter, dirname, resolve } from "node:path";
import readline from "node:readline";
import test from "node:test";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const program = process.env.TIDINGS_BIN ?? resolve(here, "../../target/debug/tidings");
const page = readFileSync(resolve(here, "../../docs/migration.md"), "utf8");
const steps = page.split(/^## Step /m).slice(1).map((step) => step.match(/^```sh\n([^]*?)^```/m)[1].trimEnd().split("\n"));

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const freePort = () => new Promise((done) => {
  const probe = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address();
    probe.close(() => done(port));
  });
});

async function until(what, check) {
  const end = Date.now() + 60_000;
  for (;;) {
    const found = await check();
    if (found) return found;
    assert.ok(Date.now() < end, `${what} does not come`);
    await pause(20);
  }
}

/** The processes that run, by their commands as the page has them. */
const running = new Map();

function start(command, environment) {
  const line = command.replace(/127\.0\.0\.1:740[01]/, (address) => environment[address]);
  const child = spawn("sh", ["-c", `exec ${line}`], { cwd: here, env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
  const process_ = { child, lines: [], errors: [], ended: new Promise((done) => child.once("exit", done)) };
  readline.createInterface({ input: child.stdout }).on("line", (text) => process_.lines.push(text));
  readline.createInterface({ input: child.stderr }).on("line", (text) => process_.errors.push(text));
  return process_;
}

async function stop(command) {
  const process_ = running.get(command);
  assert.ok(process_, `${command} runs`);
  running.delete(command);
  process_.child.kill("SIGINT");
  await process_.ended;
  return process_;
}

const numbers = ({ lines }) => lines.filter((line) => /^\d+$/.test(line)).map(Number);

test("the steps of the page lose nothing and repeat nothing", async (context) => {
  const [redisPort, relayPort, one, other] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const redis = spawn("redis-server", ["--port", String(redisPort), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], { stdio: "ignore" });
  context.after(() => {
    running.forEach(({ child }) => child.kill("SIGKILL"));
    redis.kill("SIGKILL");
  });
  const environment = {
    REDIS: `redis://127.0.0.1:${redisPort}`, RELAY: String(relayPort), TIDINGS_URL: `http://127.0.0.1:${one}`, NODES: `http://127.0.0.1:${one},http://127.0.0.1:${other}`, TIDINGS_LOG_FORMAT: "json",
    "127.0.0.1:7400": `127.0.0.1:${one}`, "127.0.0.1:7401": `127.0.0.1:${other}`, PATH: `${dirname(program)}${delimiter}${process.env.PATH}`,
  };
  const exported = page.match(/^```sh setup\n([^]*?)^```/m)[1].match(/\b[A-Z_]+(?==)/g);
  assert.deepEqual(exported.filter((name) => environment[name] === undefined), [], "the test sets what the page exports");
  await until("Redis", () => new Promise((done) => {
    const socket = net.connect(redisPort, "127.0.0.1", () => done(socket.destroy() && true)).on("error", () => done(false));
  }));
  const stopped = new Map();
  for (const [step, commands] of steps.entries()) {
    for (const command of commands) {
      context.diagnostic(`step ${step}: ${command}`);
      const toStop = command.match(/^# stop: (.*)$/)?.[1];
      if (toStop) {
        stopped.set(toStop, await stop(toStop));
        continue;
      }
      const process_ = start(command, environment);
      if (/ serve /.test(command)) {
        running.set(command, process_);
        const url = `http://${environment[command.match(/127\.0\.0\.1:740[01]/)[0]]}`;
        await until(`the node: ${process_.errors.join("\n")}`, async () => (await fetch(`${url}/readyz`).catch(() => ({}))).ok);
        assert.deepEqual(process_.errors.filter((line) => line.includes("unknown variable")), []);
        // Its bridges work.
        const bridges = readFileSync(resolve(here, command.match(/--config (\S+)/)[1]), "utf8").match(/^name/gm)?.length ?? 0;
        const connected = () => process_.errors.filter((line) => line.includes('"role":"bridge"')).length;
        await until("the bridge that takes in", () => connected() >= Math.min(bridges, 1));
      } else if (/^node /.test(command)) {
        running.set(command, process_);
        await until(`${command} ${process_.errors.join("\n")}`, () => process_.lines.length > 0);
      } else {
        assert.equal(await process_.ended, 0, process_.errors.join("\n"));
        if (command.includes("bridge dead")) assert.deepEqual(process_.lines.filter((line) => line.includes("sale-")), []);
      }
    }
    const newReader = running.get("node new/reader.mjs");
    const publisher = running.get("node new/publisher.mjs") ?? running.get("node old/publisher.mjs");
    const mark = numbers(publisher).at(-1) ?? 0;
    await until(`step ${step}: the publisher goes on ${publisher.errors.slice(-5).join("\n")}`, () => (numbers(publisher).at(-1) ?? Infinity) < mark - 10);
    const last = numbers(publisher).at(-1);
    const reads = [newReader, running.get("node old/reader.mjs")].filter(Boolean);
    for (const reader of reads) await until(`step ${step}: a reader gets ${last}`, () => numbers(reader).includes(last));
  }
  const published = [...numbers(stopped.get("node old/publisher.mjs")), ...numbers(running.get("node new/publisher.mjs"))];
  const check = (name, reader, until_) => {
    const got = numbers(reader);
    const expected = published.slice(published.indexOf(got[0])).filter((number) => number >= until_ || number > 600_000);
    assert.equal(new Set(got).size, got.length, `${name} gets nothing twice`);
    const missing = expected.filter((number) => !got.includes(number));
    assert.deepEqual(missing, [], `${name} misses nothing`);
  };
  const newReader = running.get("node new/reader.mjs");
  check("the new reader", newReader, Math.min(...numbers(newReader)));
  const oldReader = stopped.get("node old/reader.mjs");
  check("the old reader", oldReader, Math.min(...numbers(oldReader)));
});
