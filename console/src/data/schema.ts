// Reads JSON Schemas (2020-12) as far as the console needs it: fields for filters, examples, and the kind of input of a value.
//
// The daemon validates. What the console does not understand of a schema, a person types as JSON.

import { isObject } from "./json.js";

export type Schema = { readonly [keyword: string]: any };

/** A schema with what its `$ref` names. `root` is the document. */
export function resolve(schema: unknown, root: Schema): Schema {
  let current: Schema = isObject(schema) ? schema : {};
  for (let hops = 0; typeof current["$ref"] === "string" && hops < 20; hops++) {
    const { $ref, ...beside } = current;
    let target: unknown = root;
    for (const part of $ref.replace(/^#\/?/, "").split("/").filter(Boolean)) {
      target = (target as Schema | undefined)?.[decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~")];
    }
    current = { ...(isObject(target) ? target : {}), ...beside };
  }
  return current;
}

/** The types that a value may have. */
export function types(schema: Schema): readonly string[] {
  if (schema["const"] !== undefined) return [typeOf(schema["const"])];
  if (Array.isArray(schema["enum"])) return [...new Set(schema["enum"].map(typeOf))];
  const stated = [schema["type"] ?? []].flat() as string[];
  if (stated.length > 0) return stated;
  if (isObject(schema["properties"]) || schema["additionalProperties"] !== undefined) return ["object"];
  if (schema["items"] !== undefined || schema["prefixItems"] !== undefined) return ["array"];
  return [];
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value === "bigint" ? "number" : typeof value;
}

/** The alternatives of a value, where a person has to choose one: `anyOf` or `oneOf` of different kinds. */
export function alternatives(schema: Schema, root: Schema): readonly Schema[] {
  const options = (schema["oneOf"] ?? schema["anyOf"]) as unknown;
  if (!Array.isArray(options)) return [];
  const { oneOf: _, anyOf: __, ...common } = schema;
  // An object whose alternatives only say which members are needed has one form for all of them.
  if (isObject(common["properties"])) return [];
  return options.map((option) => ({ ...common, ...resolve(option, root) }));
}

/** The name of an alternative. */
export function labelOf(schema: Schema, root: Schema): string {
  if (typeof schema["title"] === "string") return schema["title"];
  for (const [name, property] of Object.entries((schema["properties"] ?? {}) as Record<string, unknown>)) {
    const fixed = resolve(property, root)["const"];
    if (typeof fixed === "string") return `${name}: ${fixed}`;
  }
  return types(schema).join(" or ") || "any JSON";
}

/** A field on which a filter may have a condition. */
export interface FilterField {
  /** Dotted for nested fields. */
  readonly path: string;
  readonly schema: Schema;
  readonly kind: "text" | "number" | "boolean";
  readonly options: readonly unknown[];
}

/** The fields of a schema that hold scalars, or arrays of them. */
export function filterFields(root: Schema): readonly FilterField[] {
  const fields = new Map<string, FilterField>();
  const walk = (given: unknown, path: string, depth: number) => {
    const schema = resolve(given, root);
    if (depth > 4) return;
    for (const part of ["anyOf", "oneOf", "allOf"]) {
      for (const option of (schema[part] ?? []) as unknown[]) walk(option, path, depth + 1);
    }
    for (const [name, property] of Object.entries((schema["properties"] ?? {}) as Record<string, unknown>)) {
      walk(property, path ? `${path}.${name}` : name, depth + 1);
    }
    const kinds = types(schema);
    if (kinds.includes("array")) walk(schema["items"], path, depth + 1);
    const options = schema["const"] !== undefined ? [schema["const"]] : ((schema["enum"] ?? []) as unknown[]);
    const kind = kinds.includes("string") ? "text" : kinds.some((type) => type === "number" || type === "integer") ? "number" : kinds.includes("boolean") ? "boolean" : undefined;
    if (kind === undefined || !path) return;
    const known = fields.get(path);
    fields.set(path, { path, schema, kind: known?.kind ?? kind, options: known ? [...new Set([...known.options, ...options])] : options });
  };
  walk(root, "", 0);
  return [...fields.values()];
}

/** How deep an example may be. */
const DEPTH = 6;

/** A value that fits, in the simple cases: what a form begins with. Optional members are left out below the first level. */
export function example(given: unknown, root: Schema, name = "", depth = 0): unknown {
  const schema = resolve(given, root);
  const stated = schema["examples"]?.[0] ?? schema["default"] ?? schema["const"] ?? schema["enum"]?.[0];
  if (stated !== undefined) return stated;
  const [kind] = types(schema);
  // A schema may contain itself.
  if (depth > DEPTH) return kind === "object" ? {} : kind === "array" ? [] : null;
  const choice = alternatives(schema, root)[0];
  if (choice !== undefined) return example(choice, root, name, depth + 1);
  switch (kind) {
    case "object": {
      const required = new Set<string>(schema["required"] ?? []);
      // Where alternatives say which members are needed, the first one is taken.
      for (const member of (schema["anyOf"]?.[0]?.["required"] ?? schema["oneOf"]?.[0]?.["required"] ?? []) as string[]) required.add(member);
      const members = Object.entries((schema["properties"] ?? {}) as Record<string, unknown>);
      return Object.fromEntries(members.filter(([member]) => required.has(member)).map(([member, value]) => [member, example(value, root, member, depth + 1)]));
    }
    case "array": {
      const fixed = (schema["prefixItems"] ?? []) as unknown[];
      const count = Math.max(Number(schema["minItems"] ?? 0), depth < 2 ? 1 : 0, fixed.length);
      const rest = schema["items"] === false ? fixed.length : Math.min(count, 20);
      return Array.from({ length: rest }, (_, index) => example(fixed[index] ?? schema["items"], root, name.replace(/s$/, ""), depth + 1));
    }
    case "integer":
    case "number": {
      const least = schema["minimum"] ?? (schema["exclusiveMinimum"] === undefined ? undefined : Number(schema["exclusiveMinimum"]) + 1);
      return least !== undefined && Number(least) > 1 ? least : Number(schema["maximum"] ?? 1) < 1 ? schema["maximum"] : 1;
    }
    case "boolean":
      return true;
    case "null":
      return null;
    case "string":
      return exampleText(schema, name);
    default:
      return depth === 0 ? {} : "example";
  }
}

const FORMATS: Readonly<Record<string, string>> = {
  date: "2026-01-31",
  time: "12:00:00Z",
  "date-time": "2026-01-31T12:00:00Z",
  duration: "PT1H",
  email: "somebody@example.com",
  hostname: "host.example.com",
  ipv4: "192.0.2.1",
  ipv6: "2001:db8::1",
  uri: "https://example.com/",
  "uri-reference": "/example",
  uuid: "018f4e2a-0000-7000-8000-000000000001",
};

function exampleText(schema: Schema, name: string): string {
  const format = FORMATS[schema["format"]];
  if (format !== undefined) return format;
  // `orderId` is `order-1`: names of things end like this.
  let words = name.replace(/(Id|ID|_id)$/, "").replace(/([a-z])([A-Z])/g, "$1-$2").toLowerCase();
  const isName = /(^id|Id|ID|_id|sku|key|tag|prefix)$/.test(name);
  if (/currency$/i.test(name)) words = "EUR";
  const tries = [isName ? `${words || "item"}-1` : words || "example", "EUR", "A1", "a", "1", "example", "2026-01-31"];
  const fits = (text: string) => {
    if (text.length < Number(schema["minLength"] ?? 0) || text.length > Number(schema["maxLength"] ?? Infinity)) return false;
    try {
      return schema["pattern"] === undefined || new RegExp(schema["pattern"], "u").test(text);
    } catch {
      return true;
    }
  };
  return tries.find(fits) ?? "example".padEnd(Number(schema["minLength"] ?? 0), "-");
}
