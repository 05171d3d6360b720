// The recipes of docs/frameworks.md, as they stand there: the code blocks that begin with `// recipe: NAME`.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath, pathToFileURL } from "node:url";

import ts from "typescript";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
/** Within node_modules, so that they find the libraries that they are for. */
const FOLDER = path("../node_modules/.tidings-recipes");

/** Writes a recipe to a file. Returns its path. */
async function write(name: string, ending: string, code: string): Promise<string> {
  await mkdir(FOLDER, { recursive: true });
  const file = `${FOLDER}/${name}.${ending}`;
  await writeFile(file, code);
  return file;
}

async function text(name: string): Promise<string> {
  const document = await readFile(path("../../../docs/frameworks.md"), "utf8");
  const code = new RegExp(`^\`\`\`ts\\n(// recipe: ${name}\\n[^]*?)^\`\`\`$`, "m").exec(document)?.[1];
  if (code === undefined) throw new Error(`docs/frameworks.md has no recipe ${name}`);
  return code;
}

/** The file of a recipe in JavaScript, for a bundler. */
export async function recipeFile(name: string): Promise<string> {
  const { outputText } = ts.transpileModule(await text(name), { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true } });
  return write(name, "bundle.mjs", outputText);
}

/** A recipe, with the built client. */
export async function recipe(name: string): Promise<Record<string, (...args: any[]) => () => void>> {
  const code = await readFile(await recipeFile(name), "utf8");
  const client = pathToFileURL(path("../dist/index.js")).href;
  const file = await write(name, "mjs", code.replace('"tidings-client"', JSON.stringify(client)));
  return import(/* @vite-ignore */ `${pathToFileURL(file).href}?${Date.now()}`);
}

/** What the compiler says about a recipe, with every strict setting. */
export async function mistakes(name: string): Promise<string> {
  const file = await write(name, "ts", await text(name));
  const { options } = ts.convertCompilerOptionsFromJson({
    target: "ES2022", lib: ["ES2022", "DOM"], types: [], noEmit: true, skipLibCheck: true, module: "ESNext", moduleResolution: "bundler",
    strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noPropertyAccessFromIndexSignature: true,
    noImplicitReturns: true, noUnusedLocals: true, noUnusedParameters: true, verbatimModuleSyntax: true,
    paths: { "tidings-client": [path("../dist/index.d.ts")] },
  }, FOLDER);
  const host = ts.createCompilerHost(options);
  return ts.formatDiagnostics(ts.getPreEmitDiagnostics(ts.createProgram([file], options, host)), host);
}
