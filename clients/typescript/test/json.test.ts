// The option `json`: numbers that a double does not hold stay exact, over every transport, in filters and when published.

import { fileURLToPath } from "node:url";

import { afterAll, beforeAll, expect, test } from "vitest";

import { connect, type JsonCodec } from "../src/index.js";
import { Daemon } from "./daemon.js";

/** Integers of 16 digits or more as `bigint`. */
const exact: JsonCodec = {
  parse: (text) =>
    JSON.parse(text.replaceAll(/([:[,]\s*)(-?\d{16,})(?=\s*[,}\]])/g, '$1"$2n"'), (_, value) => (/^-?\d{16,}n$/.test(value) ? BigInt(value.slice(0, -1)) : value)),
  stringify: (value) => JSON.stringify(value, (_, part) => (typeof part === "bigint" ? `${part}n` : part)).replaceAll(/"(-?\d{16,})n"/g, "$1"),
};
const AMOUNT = 9007199254740993n; // 2^53 + 1

interface Types {
  "price-change": { sku: string; price: { amount: number | bigint; currency: string } };
}

let daemon: Daemon;
beforeAll(async () => {
  daemon = await Daemon.start(["--schemas", fileURLToPath(new URL("own", import.meta.url))]);
});
afterAll(() => daemon.kill());

test.each(["websocket", "sse", "long-poll"] as const)("an integer beyond 2^53 is exact over %s", async (transport) => {
  const bus = connect<Types>(daemon.url, { json: exact, transports: [transport] });
  const received: unknown[] = [];
  const sku = `sku-${transport}`;
  bus.on("price-change", { where: { sku, "price.amount": AMOUNT as unknown as number } }, ({ price }) => received.push(price.amount));
  await bus.ready();
  expect(bus.transport).toBe(transport);
  for (const amount of [AMOUNT - 1n, AMOUNT, AMOUNT + 1n, AMOUNT]) await bus.publish("price-change", { sku, price: { amount, currency: "EUR" } });
  await expect.poll(() => received.length).toBe(2);
  expect(received).toEqual([AMOUNT, AMOUNT]);
  bus.close();
});

test("a number that is an object matches a filter by its value", async () => {
  class Written {
    constructor(readonly text: string) {}
    valueOf(): number {
      return Number(this.text);
    }
  }
  const json: JsonCodec = { stringify: JSON.stringify, parse: (text) => JSON.parse(text, (key, value) => (key === "amount" ? new Written(String(value)) : value)) };
  const bus = connect<Types>(daemon.url, { json });
  const received: unknown[] = [];
  bus.on("price-change", { where: { sku: "written", "price.amount": 5 } }, ({ price }) => received.push(String((price.amount as unknown as Written).text)));
  await bus.ready();
  await daemon.publish([4, 5].map((amount) => ({ type: "price-change", data: { sku: "written", price: { amount, currency: "EUR" } } })));
  await expect.poll(() => received).toEqual(["5"]);
  bus.close();
});
