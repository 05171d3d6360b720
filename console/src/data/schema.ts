// Reads JSON Schemas (2020-12) as far as the console needs it: fields for filters, and the kind of input of a value.
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

/** How deep a value may be. */
const DEPTH = 6;
const EMPTY: Readonly<Record<string, unknown>> = { boolean: true, null: null, string: "" };

/** What a person who adds a value begins with: one that the schema names, or an empty one with the members that are required. */
export function blank(given: unknown, root: Schema, depth = 1): unknown {
  const schema = resolve(given, root);
  const named = schema["examples"]?.[0] ?? schema["default"] ?? schema["const"] ?? schema["enum"]?.[0];
  if (named !== undefined) return named;
  const [kind = ""] = types(schema);
  const below = (part: unknown) => blank(part, root, depth + 1);
  // A schema may contain itself.
  if (depth > DEPTH) return kind === "object" ? {} : kind === "array" ? [] : null;
  const [choice] = alternatives(schema, root);
  if (choice) return below(choice);
  if (kind === "object") return Object.fromEntries(((schema["required"] ?? []) as string[]).map((member) => [member, below(schema["properties"]?.[member])]));
  if (kind === "array") {
    const fixed = (schema["prefixItems"] ?? []) as unknown[];
    const count = Math.max(Number(schema["minItems"] ?? 0), depth < 2 ? 1 : 0, fixed.length);
    return Array.from({ length: schema["items"] === false ? fixed.length : Math.min(count, 20) }, (_, index) => below(fixed[index] ?? schema["items"]));
  }
  if (kind === "integer" || kind === "number") return schema["minimum"] ?? 1;
  return EMPTY[kind] ?? "";
}
