// A JSON Schema as a TypeScript type, for people to read. `tidings codegen typescript` writes the ones for programs.

import { isObject, json } from "./json.js";
import { resolve, type Schema, types } from "./schema.js";

/** The TypeScript type of a schema's values. */
export function typescript(root: Schema): string {
  return write(root, root, 0);
}

function write(given: unknown, root: Schema, depth: number): string {
  return alternatives(given, root, depth).join(" | ");
}

/** The types of which a value has one. */
function alternatives(given: unknown, root: Schema, depth: number): readonly string[] {
  if (given === true || given === undefined) return ["unknown"];
  if (given === false) return ["never"];
  if (depth > 8) return ["unknown"];
  if (depth > 0 && isObject(given) && given["$ref"] === "#") return ["Data"];
  const schema = resolve(given, root);
  // Numbers stay as they are written.
  if (schema["const"] !== undefined) return [json.stringify(schema["const"])];
  if (Array.isArray(schema["enum"])) return schema["enum"].map((value) => json.stringify(value));
  const options = (schema["oneOf"] ?? schema["anyOf"]) as unknown[] | undefined;
  if (Array.isArray(options) && !isObject(schema["properties"])) return [...new Set(options.flatMap((option) => alternatives(option, root, depth)))];
  const known = types(schema).map((type) => one(type, schema, root, depth));
  return known.length > 0 ? known : ["unknown"];
}

function one(type: string, schema: Schema, root: Schema, depth: number): string {
  const indent = "  ".repeat(depth);
  switch (type) {
    case "object": {
      const required = new Set<string>(schema["required"] ?? []);
      const lines: string[] = [];
      for (const [name, property] of Object.entries((schema["properties"] ?? {}) as Record<string, unknown>)) {
        const { description } = resolve(property, root);
        if (typeof description === "string") lines.push(`/** ${description.replaceAll("*/", "*\\/").replaceAll("\n", " ")} */`);
        const key = /^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name);
        lines.push(`${key}${required.has(name) ? "" : "?"}: ${write(property, root, depth + 1)};`);
      }
      if (lines.length === 0) return isObject(schema["additionalProperties"]) ? `Record<string, ${write(schema["additionalProperties"], root, depth + 1)}>` : "Record<string, unknown>";
      return `{\n${lines.map((line) => `${indent}  ${line}`).join("\n")}\n${indent}}`;
    }
    case "array": {
      const fixed = schema["prefixItems"] as unknown[] | undefined;
      if (Array.isArray(fixed)) return `[${fixed.map((item) => write(item, root, depth + 1)).join(", ")}]`;
      const items = alternatives(schema["items"], root, depth);
      return items.length > 1 ? `(${items.join(" | ")})[]` : `${items.join("")}[]`;
    }
    case "integer":
      return "number";
    default:
      return type;
  }
}
