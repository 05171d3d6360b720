// Runs code generators of other projects over the schemas that `tidings schema export` writes, and uses what they generate:
// json-schema-to-typescript, quicktype (TypeScript) and datamodel-code-generator (Python, pydantic). openapi.mjs lints
// /openapi.json and makes types of it with openapi-typescript.
//
//   node check.mjs     takes target/debug/tidings (or TIDINGS_BIN), and datamodel-code-generator from target/python/generators

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { compile } from "json-schema-to-typescript";
import { InputData, JSONSchemaInput, JSONSchemaStore, quicktype } from "quicktype-core";
import ts from "typescript";

import { checkOpenapi } from "./openapi.mjs";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const BINARY = process.env.TIDINGS_BIN ?? path("../../target/debug/tidings");
const PYTHON = path("../../target/python/generators");

const folder = mkdtempSync(join(tmpdir(), "tidings-generators-"));
try {
  const schemas = join(folder, "schemas");
  // With a type of the user's own that refers to itself, has definitions and a union.
  execFileSync(BINARY, ["schema", "export", "--schemas", path("../../clients/typescript/test/own"), "--out", schemas], { stdio: "pipe" });
  const typescript = join(folder, "typescript");
  mkdirSync(typescript);
  for (const file of readdirSync(schemas)) {
    const name = file.replace(".schema.json", "");
    const text = readFileSync(join(schemas, file), "utf8");
    writeFileSync(join(typescript, `${name}.ts`), await compile(JSON.parse(text), name, { bannerComment: "" }));
    writeFileSync(join(typescript, `${name}.quicktype.ts`), await quicktyped({ name, schema: text }));
    if (name !== "event") continue;
    // All definitions instead of the root: quicktype merges the members of a union into one class.
    writeFileSync(join(typescript, `${name}.definitions.ts`), await quicktyped({ name, uris: [`${file}#/$defs/`] }, text));
  }
  cpSync(path("use.ts"), join(typescript, "use.ts"));
  typecheck(readdirSync(typescript).map((file) => join(typescript, file)));

  typecheck([await checkOpenapi(BINARY, folder)]);

  const models = ["--input", schemas, "--output", join(folder, "models"), "--input-file-type", "jsonschema"];
  const options = ["--output-model-type", "pydantic_v2.BaseModel", "--formatters", "builtin"];
  python(["-m", "datamodel_code_generator", ...models, ...options]);
  python([path("use.py")]);
  console.log("three generators read the schemas, and their types compile and hold events; Redocly and openapi-typescript read /openapi.json");
} finally {
  rmSync(folder, { recursive: true });
}

/** Runs Python with the installed packages and the generated models. */
function python(args) {
  execFileSync("python3", args, { stdio: "inherit", env: { ...process.env, PYTHONPATH: `${PYTHON}:${folder}` } });
}

/** What quicktype generates of a schema. It loads `document` for every URI. */
async function quicktyped(source, document) {
  const input = new JSONSchemaInput(new (class extends JSONSchemaStore {
    async fetch() {
      return JSON.parse(document);
    }
  })());
  await input.addSource(source);
  const inputData = new InputData();
  inputData.addInput(input);
  return (await quicktype({ inputData, lang: "typescript" })).lines.join("\n");
}

/** Throws if the program does not compile. */
function typecheck(files) {
  const options = { strict: true, noEmit: true, types: [], target: ts.ScriptTarget.ES2022, moduleResolution: ts.ModuleResolutionKind.Bundler, module: ts.ModuleKind.ESNext };
  const diagnostics = ts.getPreEmitDiagnostics(ts.createProgram(files, options));
  if (diagnostics.length === 0) return;
  const host = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => folder, getNewLine: () => "\n" };
  throw new Error(`what a generator made does not compile:\n${ts.formatDiagnostics(diagnostics, host)}`);
}
