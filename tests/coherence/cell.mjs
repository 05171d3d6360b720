// One system under one fault: `node cell.mjs '{"name":"tidings","fault":"cut","seed":1}'` prints the verdict as JSON.
//
// Three instances read all the time, and one writer writes. Each instance has a link of its own, through a proxy; instances 0 and 1
// are linked to the first node, instance 2 to the second. 2 s after the fault and the last write, every key of every instance is
// read once more, and every key of an instance that has just started.

import { execFileSync, fork } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { FAULTS } from "./faults.mjs";
import { Judge } from "./judge.mjs";
import { Proxy } from "./proxy.mjs";
import { redisSays, startDaemon, startRedis } from "./servers.mjs";
import { system } from "./systems/index.mjs";
import { KEYS, now, sleep, Truth } from "./truth.mjs";

const INSTANCES = 3;
const WARM_UP_MS = 1_500;
/** On a slow machine, the warm-up and an outage last until so much has happened. */
const ENOUGH = { reads: 600, writes: 15 };
const LIMIT_MS = 30_000;
const REST_MS = 2_000;

const { name, fault: faultName, seed, short = false } = JSON.parse(process.argv[2]);
const about = await system(name).about();
const fault = FAULTS[faultName];
const directory = mkdtempSync(join(tmpdir(), "coherence-"));
const file = join(directory, "truth.sqlite");
const ends = [() => rmSync(directory, { recursive: true, force: true })];
const writes = [];
const reads = [];

/** A process of this run, which is asked by messages. It leads a process group, in which a cache in Rust is, too. */
class Child {
  #process;
  #questions = new Map();
  #last = 0;

  static async start(module, options, environment = {}) {
    const child = new Child();
    const argument = JSON.stringify({ name, file, ...options });
    const settings = { env: { ...process.env, ...environment }, detached: true };
    child.#process = fork(fileURLToPath(new URL(module, import.meta.url)), [argument], settings);
    ends.push(() => child.signal("SIGKILL"));
    child.ended = once(child.#process, "exit");
    const ready = new Promise((resolve, reject) => {
      child.#process.on("message", ({ isReady, write, log, id, result }) => {
        if (isReady) resolve();
        if (write) writes.push(write);
        for (const [key, version, began, ended] of log ?? []) reads.push({ instance: options.instance, key, version, began, ended });
        child.#questions.get(id)?.(result);
      });
      child.ended.then(() => reject(new Error(`${module} of ${name} ended before it was ready`)));
    });
    await ready;
    return child;
  }

  tell(order, options) {
    this.#process.send({ name: order, id: ++this.#last, ...options });
  }

  /** Resolves with the answer, or with `undefined` if the process ends first. */
  ask(order, options) {
    this.tell(order, options);
    const answered = new Promise((resolve) => this.#questions.set(this.#last, resolve));
    return Promise.race([answered, this.ended.then(() => undefined)]);
  }

  signal(signal) {
    const { pid, exitCode, signalCode } = this.#process;
    if (pid && exitCode === null && signalCode === null) process.kill(-pid, signal);
  }
}

/** The offsets of the wall clocks of some instances, in files that a preloaded library reads. */
class Clocks {
  #library = join(directory, "clock.so");

  constructor() {
    const source = fileURLToPath(new URL("../it/support/clock.c", import.meta.url));
    execFileSync("cc", ["-shared", "-fPIC", "-O1", "-o", this.#library, source]);
    for (const instance of [0, 1]) this.step(instance, 0);
  }

  #file = (instance) => join(directory, `clock${instance}`);

  step(instance, seconds) {
    const offset = Buffer.alloc(8);
    offset.writeBigInt64LE(BigInt(seconds));
    // In place: the library has mapped the file.
    writeFileSync(this.#file(instance), offset, { flag: existsSync(this.#file(instance)) ? "r+" : "w" });
  }

  environment(instance) {
    return instance > 1 ? {} : { LD_PRELOAD: this.#library, TEST_CLOCK: this.#file(instance) };
  }
}

/** Says on stderr how far this run is, which is shown if it fails. */
const step = (text) => console.error(`${new Date().toISOString()} ${text}`);

const acknowledged = () => writes.filter((write) => write.acknowledged > 0).length;

/** Waits so long, and until `isEnough`. */
async function atLeast(ms, isEnough) {
  await sleep(ms);
  for (const until = now() + LIMIT_MS; !isEnough() && now() < until; ) await sleep(50);
}

async function outage(ms) {
  const before = acknowledged();
  await atLeast(ms, () => acknowledged() >= before + ENOUGH.writes);
}

async function main() {
  const truth = new Truth(file);
  for (const key of KEYS) writes.push({ key, version: truth.commit(key), acknowledged: 0 });
  const clocks = fault.clocks ? new Clocks() : undefined;

  const keep = (server) => (ends.push(() => server.stop()), server);
  const proxy = async (port) => keep(await Proxy.before(port));
  const redis = about.bus && keep(await startRedis(directory));
  const l2 = about.l2 && keep(await startRedis(directory));
  let [nodeLink, nodes] = [undefined, []];
  if (about.bus === "daemon") {
    nodeLink = await proxy(redis.port);
    const flags = fault.daemonFlags ?? [];
    nodes = await Promise.all([startDaemon(redis.port, flags), startDaemon(nodeLink.port, flags)]);
    nodes.forEach(keep);
  }
  const busPort = (instance) => (about.bus === "daemon" ? nodes[instance < 2 ? 0 : 1].port : redis?.port);
  const links = [];
  const l2Links = [];
  for (let instance = 0; instance <= INSTANCES; instance++) {
    // The last one is the writer's, to the first node.
    if (about.bus) links.push(await proxy(busPort(instance % INSTANCES)));
    if (about.l2) l2Links.push(await proxy(l2.port));
  }
  const linksOf = (instance) => ({ bus: links[instance]?.port, l2: l2Links[instance]?.port });
  const startInstance = (instance, isReading, options) =>
    Child.start("instance.mjs", { instance, isReading, links: linksOf(instance % INSTANCES), seed: seed + instance, ...options }, clocks?.environment(instance));
  const startWriter = () => Child.start("writer.mjs", { links: linksOf(INSTANCES), seed: seed + 100 });

  step("the servers are ready");
  const instances = await Promise.all(Array.from({ length: INSTANCES }, (_, instance) => startInstance(instance, true)));
  step("the instances are ready");
  const writer = await startWriter();
  writer.tell("start");
  await atLeast(WARM_UP_MS, () => acknowledged() >= ENOUGH.writes && reads.length >= ENOUGH.reads);
  const faultAt = now();
  step(`the fault begins; ${reads.length} reads, ${acknowledged()} writes`);
  await fault.run({
    instances,
    writer: { stop: () => writer.ask("stop"), burst: (times) => writer.ask("burst", { times }) },
    startWriter,
    link: (instance) => links[instance] ?? l2Links[instance],
    l2Links,
    nodeLink,
    flush: () => redisSays((redis ?? l2).port, "FLUSHALL", "+OK"),
    stepClock: (instance, seconds) => clocks.step(instance, seconds),
    outage,
    short,
  });
  await writer.ask("stop");
  step(`the fault has ended; ${reads.length} reads, ${acknowledged()} writes`);

  await sleep(REST_MS);
  const resting = [...instances, await startInstance(INSTANCES, false)];
  step("a new instance is ready");
  const rest = (await Promise.all(resting.map((instance) => instance.ask("rest")))).flatMap((answers, instance) =>
    answers.map((answer) => ({ instance, ...answer })),
  );
  step("at rest, everything was read");
  const counts = await Promise.all(instances.map((instance) => instance.ask("end")));

  // A writer that died told nobody: what it committed counts from then on.
  for (const write of writes) if (write.isOrphan) write.acknowledged = write.committed;
  const judge = new Judge(writes);
  const { stale, worstMs, worst } = judge.count(reads);
  const sum = (field) => counts.reduce((total, count) => total + count[field], 0);
  const isStale = ({ key, version }) => version !== undefined && version !== truth.version(key);
  return {
    name,
    title: about.title,
    fault: faultName,
    seed,
    reads: reads.length,
    loads: sum("loads"),
    hitRate: 1 - sum("loads") / sum("reads"),
    errors: sum("errors"),
    unanswered: sum("unanswered"),
    writes: acknowledged(),
    stale,
    worstMs,
    // Where the worst read is, for who looks for its cause.
    worst: worst && { ...worst, began: undefined, ended: undefined, afterFaultMs: Math.round(worst.began - faultAt) },
    olderThanBound: about.boundMs === undefined ? undefined : judge.olderThan(reads, about.boundMs),
    staleAtRest: rest.filter(isStale).length,
    atRest: rest.filter(isStale).slice(0, 3).map(({ instance, key, version }) => ({ instance, key, version, truth: truth.version(key) })),
    unansweredAtRest: rest.filter(({ version }) => version === undefined).length,
    isOwn: about.isOwn === true,
  };
}

process.on("exit", () => {
  for (const end of ends.reverse()) end();
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
try {
  console.log(JSON.stringify(await main()));
  process.exit(0);
} catch (error) {
  console.error(error);
  process.exit(1);
}
