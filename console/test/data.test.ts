// What needs no browser: exact numbers, values and types of schemas, filters' fields.

import { expect, test } from "vitest";

import { json, same, typedNumber } from "../src/data/json.js";
import { blank, filterFields, type Schema } from "../src/data/schema.js";
import { typescript } from "../src/data/typescript.js";

test.each(["0", "-1", "1.5", "123456789012345", "9007199254740991", "9007199254740993", "-9007199254740993", "18446744073709551616", "0.1", "1.10", "5.0", "-0", "-0.0", "1E5", "1e5", "1e400", "-1.5e-300", "0.30000000000000000004", "0.0000001", "100", "1000000000000000000000", "123.4567890123456789"])("the number %s stays as it is written", (text) => {
  for (const [before, after] of [["", ""], ["[", "]"], ["[1, ", "]"], ['{"a":', "}"], ['{"a": {"b" :\n\t', "} }"]] as const) {
    const written = json.stringify(json.parse(before + text + after));
    expect(written).toBe((before + text + after).replaceAll(/\s/g, ""));
  }
  expect(json.stringify(typedNumber(` ${text} `))).toBe(text);
});

test("texts that look like numbers stay texts, and what is no number is none", () => {
  const text = '{"a":"9007199254740993","b":": 1.10","c":"[1e5]","__proto__":{"d":1}}';
  expect(json.stringify(json.parse(text))).toBe(text);
  for (const typed of ["", "1.", ".5", "0x10", "1_000", "NaN", "--1", "01"]) expect(typedNumber(typed)).toBeUndefined();
});

test("two values are the same if their JSON is", () => {
  expect(same(json.parse('{"a":[9007199254740993,{}]}'), json.parse('{"a":[9007199254740993,{}]}'))).toBe(true);
  for (const [a, b] of [["9007199254740993", "9007199254740992"], ["[1]", "[1,2]"], ['{"a":null}', "{}"], ["[]", "{}"], ["1", '"1"']] as const) expect(same(json.parse(a), json.parse(b))).toBe(false);
});

const PRICE: Schema = {
  type: "object",
  required: ["sku", "price"],
  properties: {
    sku: { type: "string" },
    price: { $ref: "#/$defs/money" },
    was: { anyOf: [{ $ref: "#/$defs/money" }, { type: "null" }] },
    labels: { type: "object", additionalProperties: { type: "string" } },
    channels: { description: "Where it is sold so.", type: "array", items: { enum: ["web", "shop"] } },
    range: { prefixItems: [{ type: "string", format: "date" }, { type: ["string", "null"], format: "date" }], minItems: 2, maxItems: 2 },
    parts: { type: "array", items: { $ref: "#" } },
    code: { type: "string", pattern: "^[A-Z]{3}$" },
  },
  $defs: { money: { type: "object", required: ["amount", "currency"], properties: { amount: { type: "integer" }, currency: { type: "string" } } } },
};

test("a value that is added has what is required", () => {
  expect(blank(PRICE, PRICE)).toEqual({ sku: "", price: { amount: 1, currency: "" } });
  expect(blank(PRICE["properties"].range, PRICE)).toEqual(["", ""]);
  expect(blank(PRICE["properties"].channels, PRICE)).toEqual(["web"]);
  expect(blank(PRICE["properties"].was, PRICE)).toEqual({ amount: 1, currency: "" });
  // A schema that contains itself has an end.
  const list: Schema = { type: "object", required: ["next"], properties: { next: { $ref: "#" } } };
  expect(JSON.stringify(blank(list, list)).length).toBeLessThan(1_000);
});

test("filters may name scalars, nested ones, and elements of arrays", () => {
  const fields = filterFields(PRICE);
  expect(fields.map(({ path, kind }) => `${path} ${kind}`)).toEqual(expect.arrayContaining(["sku text", "price.amount number", "price.currency text", "channels text", "was.amount number"]));
  expect(fields.find(({ path }) => path === "channels")!.options).toEqual(["web", "shop"]);
});

test("the TypeScript type is one that a person can read", () => {
  expect(typescript(PRICE)).toBe(`{
  sku: string;
  price: {
    amount: number;
    currency: string;
  };
  was?: {
    amount: number;
    currency: string;
  } | null;
  labels?: Record<string, string>;
  /** Where it is sold so. */
  channels?: ("web" | "shop")[];
  range?: [string, string | null];
  parts?: Data[];
  code?: string;
}`);
});

test("the TypeScript type has numbers as they are written, and lists of alternatives in parentheses", () => {
  const schema = json.parse(`{
    "type": "object",
    "properties": {
      "big": { "enum": [9007199254740993, 1.10, "x", null] },
      "one": { "const": 1E5 },
      "parts": { "type": "array", "items": { "type": ["object", "null"], "properties": { "a": { "type": ["string", "null"] } } } },
      "flat": { "type": "array", "items": { "type": "object", "properties": { "a": { "type": ["string", "null"] } } } }
    }
  }`);
  expect(typescript(schema as Schema)).toBe(`{
  big?: 9007199254740993 | 1.10 | "x" | null;
  one?: 1E5;
  parts?: ({
    a?: string | null;
  } | null)[];
  flat?: {
    a?: string | null;
  }[];
}`);
});
