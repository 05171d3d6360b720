// The old publisher: knows Redis, and nothing of tidings. A sale every 20 ms, numbered by the quantity that is left.

import { Redis } from "ioredis";

const redis = new Redis(process.env.REDIS ?? "redis://127.0.0.1:6379");
let left = Number(process.argv[2] ?? 1_000_000);
for (;;) {
  const message = { type: "inventory:change", eventId: `sale-${left}`, sku: "p1", from: left, to: left - 1, timestamp: Date.now() };
  await redis.publish("channel:inventory:change", JSON.stringify(message));
  console.log(left -= 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
}
