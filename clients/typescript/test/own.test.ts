// Custom types, from the schema to a typed event: generated, compiled (with these tests), validated and filtered.

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect, expectTypeOf, test, vi } from "vitest";

import { connect, type CloudEvent, type Where } from "../src/index.js";
import { BINARY, Daemon } from "./daemon.js";
import type { CacheTag, EventMap, PriceChange, TidingsEvent } from "./own/events.js";

const OWN = fileURLToPath(new URL("./own", import.meta.url));

test("the committed types are those that `tidings codegen typescript` generates", async () => {
  const config = `${OWN}/tidings.toml`;
  await promisify(execFile)(BINARY, ["codegen", "typescript", "--schemas", OWN, "--config", config, "--out", OWN, "--check"]);
});

test("the tags of cascades are types", () => {
  expectTypeOf<CacheTag>().toEqualTypeOf<"catalogue" | `prices:${string}`>();
  const tags: CacheTag[] = ["catalogue", "prices:123"];
  // @ts-expect-error A misspelt tag does not compile.
  tags.push("price:123");
});

test("publishing returns what the cascades of the daemon have made of the events", async () => {
  const daemon = await Daemon.start(["--schemas", OWN, "--config", `${OWN}/tidings.toml`]);
  const bus = connect<EventMap>(daemon.url);
  try {
    const data: PriceChange = { sku: "a-1", price: { amount: 995, currency: "EUR" } };
    const one = await bus.publish("price-change", data, { id: "p1" });
    expect(one).toMatchObject({ id: "p1", duplicate: false, cascaded: [{ type: "cache-invalidate", duplicate: false, position: expect.any(String) }] });
    const all = await bus.publishAll([{ type: "price-change", data, id: "p1" }, { type: "data-update", data: { resource: "r", id: "1", action: "create" } }]);
    expect(all.map(({ type, duplicate }) => [type, duplicate])).toEqual([["price-change", true], ["data-update", false]]);
    expect(all.cascaded).toEqual([{ ...one.cascaded[0], duplicate: true }]);
  } finally {
    bus.close();
    await daemon.kill();
  }
});

test("an event of a custom type is typed, validated and filtered", async () => {
  const daemon = await Daemon.start(["--schemas", OWN]);
  const bus = connect<EventMap>(daemon.url);
  try {
    const handler = vi.fn();
    const where: Where<PriceChange> = {
      "price.currency": ["EUR", "CHF"],
      "labels.season": { prefix: "wint" },
      "reason.kind": "match",
      channels: "web",
      was: null,
    };
    bus.on("price-change", { where }, (data, event) => {
      expectTypeOf(data.reason).toEqualTypeOf<{ kind: "sale" } | { kind: "match"; rival: string } | undefined>();
      expectTypeOf(data.range).toEqualTypeOf<[string, string | null] | undefined>();
      expectTypeOf(data.parts).toEqualTypeOf<PriceChange[] | undefined>();
      expectTypeOf(event).toExtend<TidingsEvent>();
      expectTypeOf(event).toEqualTypeOf<CloudEvent<"price-change", PriceChange>>();
      handler(data, event.subject);
    });
    await bus.ready();

    const data: PriceChange = {
      sku: "a-1",
      price: { amount: 995, currency: "EUR" },
      was: null,
      labels: { season: "winter" },
      channels: ["shop", "web"],
      range: ["2026-11-21", null],
      reason: { kind: "match", rival: "them" },
    };
    await bus.publish("price-change", { ...data, labels: { season: "summer" } });
    await bus.publish("price-change", data);
    await expect.poll(() => handler.mock.calls).toEqual([[data, "a-1"]]);

    // @ts-expect-error the amount is missing
    const publishing = bus.publish("price-change", { sku: "a-1", price: { currency: "EUR" } });
    await expect(publishing).rejects.toMatchObject({ errors: [{ pointer: "/data/price/amount" }] });
    // @ts-expect-error a misspelt field
    const misspelt = bus.events("price-change", { where: { "price.curency": "EUR" } });
    await expect(misspelt.next()).rejects.toMatchObject({ code: "unknown-field" });
  } finally {
    bus.close();
    await daemon.kill();
  }
});
