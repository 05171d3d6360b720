// Own event types from schemas of zod and valibot: typed at compile time, accepted by the real daemon, validated if asked.

import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { toStandardJsonSchema } from "@valibot/to-json-schema";
import * as v from "valibot";
import { beforeEach, describe, expect, expectTypeOf, onTestFinished, test, vi } from "vitest";
import { z } from "zod";

import { type Bus, connect, type EventMap, type InventoryChange, TidingsError } from "../src/index.js";
import { type DefinedTypes, defineTypes, type EventsOf, type OwnType, schemaFiles, type StandardSchema, writeSchemas } from "../src/schema/index.js";
import { BINARY, Daemon } from "./daemon.js";
import { FakeDaemon } from "./fake.js";

const Money = z.object({ amount: z.int(), currency: z.enum(["EUR", "CHF"]) });

const types = defineTypes({
  // zod, with a key
  "price-change": {
    schema: z.strictObject({
      sku: z.string().min(1),
      price: Money,
      was: Money.nullable().optional(),
      changedAt: z.iso.datetime().optional(),
      by: z.email().optional(),
      labels: z.record(z.string(), z.string()).optional(),
    }),
    key: "sku",
  },
  // zod, with the key in the schema
  "stock-take": z.object({ shelf: z.string(), counts: z.array(z.int().nonnegative()) }).meta({ "x-tidings-key": "shelf", description: "A count." }),
  // valibot
  "review": {
    schema: toStandardJsonSchema(v.strictObject({ id: v.string(), stars: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(5)) })),
    key: "id",
  },
});

type Price = { sku: string; price: { amount: number; currency: "EUR" | "CHF" } };
const PRICE: Price = { sku: "a-1", price: { amount: 995, currency: "EUR" } };

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tidings-schema-"));
  return () => rm(folder, { recursive: true });
});

test("a type of its own fits a definition, as isolatedDeclarations wants it for an export", () => {
  interface Price {
    sku: string;
    cents: number;
  }
  const annotated: DefinedTypes<{ "price-change": OwnType<StandardSchema<Price>> }> = defineTypes({
    "price-change": { schema: z.strictObject({ sku: z.string().min(1), cents: z.int().nonnegative() }), key: "sku" },
  });
  const bus: Bus<EventsOf<typeof annotated>> = connect("http://127.0.0.1:1", { types: annotated });
  expectTypeOf<EventsOf<typeof annotated>["price-change"]>().toEqualTypeOf<Price>();
  // @ts-expect-error Another type than that of the schema does not compile.
  const wrong: DefinedTypes<{ "price-change": OwnType<StandardSchema<{ sku: number }>> }> = defineTypes({ "price-change": z.object({ sku: z.string() }) });
  expect(Object.keys(schemaFiles(annotated))).toEqual(Object.keys(schemaFiles(wrong)));
  bus.close();
});

test("the schemas are the types of events, beside the built-in ones", () => {
  type Events = EventsOf<typeof types>;
  expectTypeOf<Events["review"]>().toEqualTypeOf<{ id: string; stars: number }>();
  expectTypeOf<Events["stock-take"]>().toEqualTypeOf<{ shelf: string; counts: number[] }>();
  expectTypeOf<Events["order-status"]>().toEqualTypeOf<EventMap["order-status"]>();

  const bus = connect("http://127.0.0.1:1", { types });
  expectTypeOf(bus).toExtend<Bus<Events>>();
  bus.close();
  const typed = (bus: Bus<Events>) => {
    bus.on("price-change", { where: { "price.currency": ["EUR"], sku: { prefix: "a" } } }, (data, { type }) => {
      expectTypeOf(data.price.currency).toEqualTypeOf<"EUR" | "CHF">();
      expectTypeOf(type).toEqualTypeOf<"price-change">();
    });
    bus.on("inventory-change", (data) => expectTypeOf(data).toEqualTypeOf<InventoryChange>());
    // @ts-expect-error the type of a field
    void bus.publish("review", { id: "1", stars: "5" });
    // @ts-expect-error a misspelt field
    bus.on("review", { where: { star: 5 } }, () => {});
    // @ts-expect-error no such type
    bus.on("reviews", () => {});
  };
  expect(typed).toBeTypeOf("function");
});

test("a mistake in a definition does not compile, or is refused", () => {
  const schema = z.object({ id: z.string() });
  // @ts-expect-error the key is no field
  defineTypes({ "a-type": { schema, key: "ids" } });
  // @ts-expect-error the name of a built-in type
  defineTypes({ "order-status": schema });
  for (const name of ["", "a b", "-a", "a/b", "a".repeat(65)]) expect(() => defineTypes({ [name]: schema }), name).toThrow(/cannot be the name/);
});

describe("the files", () => {
  test("are accepted by the daemon, which validates, filters and keys by them", async () => {
    expect(writeSchemas(types, join(folder, "types")).sort()).toEqual((await readdir(join(folder, "types"))).sort());
    const { stdout, stderr } = await promisify(execFile)(BINARY, ["schema", "check", join(folder, "types")]);
    expect(stdout).toContain("type price-change, fields sku, price, was, changedAt, by, labels, key sku");
    expect(stdout).toContain("type review, fields id, stars, key id");
    expect(stdout).toContain("type stock-take, fields shelf, counts, key shelf");
    // No warning.
    expect(stderr).toBe("");

    const daemon = await Daemon.start(["--schemas", join(folder, "types")]);
    onTestFinished(() => daemon.kill());
    const bus = connect(daemon.url, { types });
    onTestFinished(() => bus.close());
    const handler = vi.fn();
    bus.on("price-change", { where: { "price.currency": "EUR" } }, (data, { subject }) => handler(data, subject));
    bus.on("review", (data, { subject }) => handler(data, subject));
    bus.on("stock-take", (data, { subject }) => handler(data, subject));
    await bus.ready();
    await bus.publish("price-change", { ...PRICE, price: { amount: 1, currency: "CHF" } });
    const full = { ...PRICE, was: null, changedAt: "2026-11-21T10:00:00Z", by: "ann@example.com", labels: { season: "winter" } };
    await bus.publish("price-change", full);
    await bus.publish("review", { id: "7", stars: 5 });
    await bus.publish("stock-take", { shelf: "s", counts: [1, 2] });
    await expect.poll(() => handler.mock.calls).toEqual([[full, "a-1"], [{ id: "7", stars: 5 }, "7"], [{ shelf: "s", counts: [1, 2] }, "s"]]);

    const refused: [() => Promise<unknown>, string][] = [
      [() => bus.publish("price-change", { ...PRICE, price: { amount: 1.5, currency: "EUR" } }), "/data/price/amount"],
      [() => bus.publish("price-change", { ...PRICE, by: "nobody" }), "/data/by"],
      [() => bus.publish("price-change", { ...PRICE, changedAt: "yesterday" }), "/data/changedAt"],
      [() => bus.publish("price-change", { ...PRICE, other: 1 } as Price), "/data/other"],
      [() => bus.publish("review", { id: "7", stars: 6 }), "/data/stars"],
      [() => bus.publish("stock-take", { shelf: "s", counts: [-1] }), "/data/counts/0"],
    ];
    for (const [publishing, pointer] of refused) await expect(publishing()).rejects.toMatchObject({ code: "invalid-event", errors: [{ pointer }] });
  });

  test("say by what they were made, and are written only where they differ", async () => {
    const names = ["price-change.schema.json", "stock-take.schema.json", "review.schema.json"];
    expect(writeSchemas(types, folder)).toEqual(names);
    await writeFile(join(folder, "review.schema.json"), "{}");
    await writeFile(join(folder, "another.schema.json"), "{}");
    expect(writeSchemas(types, folder)).toEqual(["review.schema.json"]);
    expect(writeSchemas(types, folder)).toEqual([]);
    const text = await readFile(join(folder, "stock-take.schema.json"), "utf8");
    expect(JSON.parse(text)).toEqual({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      $comment: expect.stringMatching(/^Generated by writeSchemas/),
      "x-tidings-key": "shelf",
      description: "A count.",
      type: "object",
      properties: { shelf: { type: "string" }, counts: { type: "array", items: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER } } },
      required: ["shelf", "counts"],
    });
    expect(await readFile(join(folder, "another.schema.json"), "utf8")).toBe("{}");
  });

  test("need a JSON Schema of the library, or of the program", () => {
    const schema = v.object({ id: v.string() });
    expect(() => schemaFiles(defineTypes({ review: schema }))).toThrow("the schema of review (valibot) has no JSON Schema: wrap the schema by toStandardJsonSchema");
    const jsonSchema = { type: "object", properties: { id: { type: "string" } } };
    expect(JSON.parse(schemaFiles(defineTypes({ review: { schema, jsonSchema } }))["review.schema.json"]!)).toMatchObject(jsonSchema);
    const other = { "~standard": { version: 1, vendor: "own", validate: (value: unknown) => ({ value }) } } satisfies StandardSchema;
    expect(() => schemaFiles(defineTypes({ other }))).toThrow("pass it as jsonSchema");
  });

  test("are not written in a browser", () => {
    vi.stubGlobal("process", undefined);
    onTestFinished(() => void vi.unstubAllGlobals());
    expect(() => writeSchemas(types, folder)).toThrow("in a browser, use schemaFiles");
  });
});

describe("validation in the program", () => {
  let daemon: FakeDaemon;
  beforeEach(async () => {
    daemon = await FakeDaemon.start();
    return () => daemon.stop();
  });
  const wrong = { sku: "", price: { amount: 1.5, currency: "USD" } } as unknown as Price;

  test("refuses what would be published, as the daemon does, and sends nothing", async () => {
    const bus = connect(daemon.url, { types, validate: "publish" });
    onTestFinished(() => bus.close());
    const error = await bus.publish("price-change", wrong).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(TidingsError);
    expect(error).toMatchObject({ code: "invalid-event" });
    expect((error as TidingsError).errors.map(({ pointer }) => pointer)).toEqual(["/data/sku", "/data/price/amount", "/data/price/currency"]);
    const batch = bus.publishAll([{ type: "review", data: { id: "1", stars: 5 } }, { type: "review", data: { id: "1", stars: 9 } }]);
    await expect(batch).rejects.toMatchObject({ errors: [{ pointer: "/1/data/stars" }] });
    expect(daemon.published).toEqual([]);
    await bus.publish("price-change", PRICE);
    await bus.publish("order-status", { orderId: "1", newStatus: "shipped" });
    expect(daemon.published).toHaveLength(2);
  });

  test("keeps from handlers and loops what does not match, and reports it", async () => {
    const bus = connect(daemon.url, { types, validate: "receive" });
    onTestFinished(() => bus.close());
    const [skus, errors]: [string[], TidingsError[]] = [[], []];
    bus.onError((error) => errors.push(error));
    bus.on("price-change", ({ sku }) => skus.push(sku));
    const loop = bus.events("price-change");
    const peer = (await daemon.connection()).welcome();
    await peer.confirmSubscribe();
    peer.event("price-change", wrong, "e:1");
    peer.event("price-change", PRICE, "e:2");
    expect((await loop.next()).value?.data).toEqual(PRICE);
    expect(skus).toEqual(["a-1"]);
    expect(errors).toHaveLength(2);
    expect(errors[0]).toMatchObject({ code: "invalid-event", message: expect.stringContaining("no handler gets the event e:1 of the type price-change") });
    // What is published, the daemon validates.
    await bus.publish("price-change", wrong);
  });

  test("is left to the daemon unless the program asks for it", async () => {
    const bus = connect(daemon.url, { types });
    onTestFinished(() => bus.close());
    const skus: string[] = [];
    bus.on("price-change", ({ sku }) => skus.push(sku));
    const peer = (await daemon.connection()).welcome();
    await peer.confirmSubscribe();
    peer.event("price-change", wrong);
    await expect.poll(() => skus).toEqual([""]);
    await bus.publish("price-change", wrong);
  });

  test("cannot wait for a schema that is asynchronous when an event arrives", async () => {
    const late = z.object({ id: z.string() }).refine(async () => true);
    const bus = connect(daemon.url, { types: defineTypes({ late }), validate: true });
    onTestFinished(() => bus.close());
    const errors: TidingsError[] = [];
    bus.onError((error) => errors.push(error));
    bus.on("late", () => {});
    const peer = (await daemon.connection()).welcome();
    await peer.confirmSubscribe();
    peer.event("late", { id: "1" });
    await expect.poll(() => errors).toMatchObject([{ code: "invalid-event", message: expect.stringContaining("asynchronous") }]);
    await bus.publish("late", { id: "1" });
    expect(daemon.published).toHaveLength(1);
  });
});
