// Checks the peers of the benchmark, so that tidings is not compared with a server that loses events. It starts each
// installed peer; its subscribers must get every event once, in order, with its bytes unchanged.
//
//   node check.mjs [PEER..]     exits with 1 if a peer fails, or if none is installed

import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { freePorts, isFree, start, startRedis, stop } from "./processes.mjs";

const SUBSCRIBERS = 100;
const EVENTS = 50;
const PUBLISHERS = 8;
const PATIENCE_MS = 20_000;

// The client is an npm package like the peers.
const { DIALECTS, subscribe } = await import("./dialects.mjs").catch((error) => {
  if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
  console.error("the npm packages are not installed: run `make setup-bench`");
  process.exit(1);
});

const here = dirname(fileURLToPath(import.meta.url));

/** An event like those of the benchmark: compact JSON of about 150 bytes, here with characters of more than one byte. */
const event = (n) =>
  JSON.stringify({ specversion: "1.0", id: `e-${n}`, type: "inventory-change", data: { productId: "p-1", reason: "Größe „L“ – sold 🧦", n } });

/** Waits until each subscriber has `count` events. */
async function wait(lists, count) {
  const deadline = Date.now() + PATIENCE_MS;
  while (lists.some((list) => list.length < count)) {
    if (Date.now() > deadline) throw new Error(`a subscriber has ${Math.min(...lists.map((list) => list.length))} of ${count} events`);
    await sleep(10);
  }
}

function compare(list, expected, who) {
  const at = expected.findIndex((one, n) => one !== list[n]);
  if (at >= 0) throw new Error(`${who}: event ${at} is ${list[at]}, expected ${expected[at]}`);
  if (list.length !== expected.length) throw new Error(`${who} has ${list.length} events, expected ${expected.length}`);
}

async function openAll(dialect, port) {
  const lists = Array.from({ length: SUBSCRIBERS }, () => []);
  const subscribers = await Promise.all(lists.map((list) => subscribe(dialect, port, (one) => list.push(one))));
  return { lists, subscribers };
}

/** Publishes one event after the other over one connection. All subscribers must get them in this order. */
async function checkSequential(publisher, lists) {
  const events = Array.from({ length: EVENTS }, (_, n) => event(n));
  for (const one of events) await publisher.publish(one);
  await wait(lists, events.length);
  return events;
}

/**
 * Publishes events at the same time over several connections, then a last event, the fence. Each event must come once, and
 * those of one connection in order. With `oneOrder`, all subscribers must get the same order.
 */
async function checkConcurrent(publishers, lists, before, oneOrder) {
  const events = Array.from({ length: EVENTS }, (_, n) => event(EVENTS + n));
  await Promise.all(events.map((one, n) => publishers[n % publishers.length].publish(one)));
  const fence = event("fence");
  await publishers[0].publish(fence);
  await wait(lists, before.length + events.length + 1);
  lists.forEach((list, n) => {
    const who = `subscriber ${n}`;
    compare(list.slice(0, before.length), before, who);
    publishers.forEach((_, p) => {
      const its = events.filter((_, m) => m % publishers.length === p);
      compare(list.filter((one) => its.includes(one)), its, `${who}, publisher ${p}`);
    });
    compare(list.slice(before.length + events.length), [fence], `${who}, at the end`);
    if (oneOrder) compare(list, lists[0], `${who}, compared with the first,`);
  });
}

async function exercise(dialect, port) {
  const publishers = await Promise.all(Array.from({ length: PUBLISHERS }, () => dialect.publisher(port)));
  try {
    const first = await openAll(dialect, port);
    const published = await checkSequential(publishers[0], first.lists);
    await checkConcurrent(publishers, first.lists, published, dialect.oneOrder);
    await Promise.all(first.subscribers.map((one) => one.close()));

    // Later subscribers get the events that are published after their subscription, and no earlier ones.
    const second = await openAll(dialect, port);
    await publishers[0].publish(event("again"));
    await wait(second.lists, 1);
    second.lists.forEach((list, n) => compare(list, [event("again")], `subscriber ${n} of the second round`));
    await Promise.all(second.subscribers.map((one) => one.close()));
  } finally {
    for (const one of publishers) one.close();
  }
}

/** Checks a peer, and returns the result in one line; undefined if the peer is not installed. */
async function check(name, redisPort) {
  const port = await freePorts();
  const server = await start(join(here, name, "start"), [String(port), String(redisPort)]);
  if (!server) return undefined;
  let problem;
  try {
    await exercise(DIALECTS[name], port);
  } catch (error) {
    problem = error;
  }
  const left = await stop(server);
  if (!(await isFree(port))) left.push(`port ${port} is still taken`);
  if (problem) throw new Error([problem.message, ...left, server.said()].filter(Boolean).join("\n  "));
  if (left.length > 0) throw new Error(left.join("; "));
  return `${SUBSCRIBERS} subscribers got ${2 * EVENTS} events each, once and in order`;
}

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(DIALECTS);
const unknown = names.filter((name) => !(name in DIALECTS));
if (unknown.length > 0) {
  console.error(`no such peer: ${unknown.join(", ")}. There are ${Object.keys(DIALECTS).join(", ")}.`);
  process.exit(2);
}

const counts = { passed: 0, failed: 0, absent: 0 };
const redis = await startRedis();
try {
  for (const name of names) {
    try {
      const result = await check(name, redis.port);
      counts[result ? "passed" : "absent"]++;
      console.log(`${name.padEnd(10)}${result ?? "not installed: make setup-bench"}`);
    } catch (error) {
      counts.failed++;
      console.log(`${name.padEnd(10)}FAILED: ${error.message}`);
    }
  }
} finally {
  await stop(redis.server);
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.absent} not installed`);
process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0;
