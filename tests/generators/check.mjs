// Runs code generators of other projects over the schemas that `tidings schema export` writes, and uses what they generate:
// json-schema-to-typescript, quicktype (TypeScript) and datamodel-code-generator (Python, pydantic). openapi.mjs and
// asyncapi.mjs lint the documents that a daemon serves, and make types of them.
//
//   node check.mjs     takes target/debug/tidings (or TIDINGS_BIN), and datamodel-code-generator from target/python/generators

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { compile } from "json-schema-to-typescript";
import ts from "typescript";

import { checkAsyncapi } from "./asyncapi.mjs";
import { withDaemon } from "./daemon.mjs";
import { checkOpenapi } from "./openapi.mjs";
import { quicktyped, quicktypedEach } from "./quicktyped.mjs";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const BINARY = process.env.TIDINGS_BIN ?? path("../../target/debug/tidings");
const OWN_TYPES = path("../../clients/typescript/test/own");
const PYTHON = path("../../target/python/generators");

const folder = mkdtempSync(join(tmpdir(), "tidings-generators-"));
try {
  const schemas = join(folder, "schemas");
  // With a type of the user's own that refers to itself, has definitions and a union.
  execFileSync(BINARY, ["schema", "export", "--schemas", OWN_TYPES, "--out", schemas], { stdio: "pipe" });
  const typescript = join(folder, "typescript");
  mkdirSync(typescript);
  for (const file of readdirSync(schemas)) {
    const name = file.replace(".schema.json", "");
    const text = readFileSync(join(schemas, file), "utf8");
    writeFileSync(join(typescript, `${name}.ts`), await compile(JSON.parse(text), name, { bannerComment: "" }));
    writeFileSync(join(typescript, `${name}.quicktype.ts`), await quicktyped(name, text));
    if (name !== "event") continue;
    writeFileSync(join(typescript, `${name}.definitions.ts`), await quicktypedEach(file, text, "/$defs/"));
  }
  cpSync(path("use.ts"), join(typescript, "use.ts"));
  typecheck(readdirSync(typescript).map((file) => join(typescript, file)));

  const served = await withDaemon(BINARY, folder, ["--schemas", OWN_TYPES], async (url) => [
    ...(await checkOpenapi(url, folder)),
    ...(await checkAsyncapi(url, folder)),
  ]);
  cpSync(path("use_documents.ts"), join(folder, "use_documents.ts"));
  typecheck([...served, join(folder, "use_documents.ts")]);
  python([path("use_openapi.py")]);

  const models = ["--input", schemas, "--output", join(folder, "models"), "--input-file-type", "jsonschema"];
  const options = ["--output-model-type", "pydantic_v2.BaseModel", "--formatters", "builtin"];
  python(["-m", "datamodel_code_generator", ...models, ...options]);
  python([path("use.py")]);
  console.log("three generators read the schemas, and their types compile and hold events");
  console.log("Redocly and the AsyncAPI parser find no mistake in the documents, and the types that are made of them compile and hold frames");
} finally {
  rmSync(folder, { recursive: true });
}

/** Runs Python with the installed packages and the generated models. */
function python(args) {
  execFileSync("python3", args, { stdio: "inherit", env: { ...process.env, PYTHONPATH: `${PYTHON}:${folder}` } });
}

/** Throws if the program does not compile. */
function typecheck(files) {
  const options = { strict: true, noEmit: true, types: [], target: ts.ScriptTarget.ES2022, moduleResolution: ts.ModuleResolutionKind.Bundler, module: ts.ModuleKind.ESNext };
  const diagnostics = ts.getPreEmitDiagnostics(ts.createProgram(files, options));
  if (diagnostics.length === 0) return;
  const host = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => folder, getNewLine: () => "\n" };
  throw new Error(`what a generator made does not compile:\n${ts.formatDiagnostics(diagnostics, host)}`);
}
