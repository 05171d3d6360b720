// Publishes two events with nothing but `fetch`, and retries safely.
//
// `node examples/node/publish.mjs`, with a daemon at `TIDINGS_URL` (http://127.0.0.1:7400 by default).

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const url = process.env.TIDINGS_URL ?? "http://127.0.0.1:7400";

/** Publishes an event. Its `id` stays the same in every attempt, so the daemon takes it once. */
async function publish(event, attempts = 5) {
  const body = JSON.stringify({ id: randomUUID(), ...event });
  for (let attempt = 1; ; attempt++) {
    let retryAfter = 1;
    try {
      const response = await fetch(`${url}/v1/events`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
        signal: AbortSignal.timeout(5_000),
      });
      const answer = await response.json();
      if (response.ok) return answer.accepted[0];
      // A 4xx says what is wrong with the event, and where: no retry helps.
      if (response.status < 500) throw Object.assign(new Error(`${answer.code}: ${answer.detail}`), { answer });
      retryAfter = Number(response.headers.get("retry-after") ?? retryAfter);
      if (attempt === attempts) throw new Error(`${answer.code}: ${answer.detail}`);
    } catch (error) {
      // No answer: the daemon may have taken the event, and the next attempt is answered with `duplicate: true`.
      if (error.answer || attempt === attempts) throw error;
    }
    // A random pause keeps many publishers from returning in the same moment.
    await sleep((retryAfter + Math.random()) * 1_000);
  }
}

const data = { productId: "123", oldQuantity: 100, newQuantity: 95, reason: "sale" };
const accepted = await publish({ type: "inventory-change", data });
console.log(`published ${accepted.id} at ${accepted.position}`);

try {
  await publish({ type: "inventory-change", data: { ...data, newQuantity: "many" } });
} catch (error) {
  if (!error.answer) throw error;
  console.log(`refused: ${error.answer.code}`);
  for (const { pointer, message } of error.answer.errors ?? []) console.log(`  ${pointer}: ${message}`);
}
