// Builds the console into dist/: `node build.mjs`. With `--check`, builds into a temporary folder and compares.
//
// The result depends on nothing but the sources and package-lock.json: the same bytes on every machine. Names of scripts and
// styles have a hash of their content, so a browser may keep them for ever. The daemon embeds the files and their Brotli forms.

import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, brotliDecompressSync, constants } from "node:zlib";

import { bundle as bundleCss } from "lightningcss";
import { rolldown } from "rolldown";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const DIST = join(HERE, "dist");
/** The most that scripts and styles may have, compressed with Brotli, in bytes. */
const BUDGET = 90_000;
/** The same for what the first view needs. */
const FIRST = 60_000;

/** The oldest browsers that the styles are written for: `color-mix` and nested rules of 2023. */
const browsers = { chrome: 120 << 16, firefox: 120 << 16, safari: 17 << 16 };

const check = process.argv.includes("--check");
const out = check ? await mkdtemp(join(tmpdir(), "tidings-console-")) : DIST;

try {
  await rm(out, { recursive: true, force: true });
  const bundle = await rolldown({
    cwd: HERE,
    input: { app: "src/main.tsx" },
    platform: "browser",
    tsconfig: "tsconfig.json",
    transform: { target: "es2022", define: { IS_COMMONJS: "false" } },
    // The client, from its sources: the console needs no other build.
    resolve: { alias: { "tidings-client": join(HERE, "../clients/typescript/src/index.ts") } },
    // Parts of the client that it loads when they are called for: by Node, and by `latest`, which the console does not use.
    external: ["ws", /^node:/, /\/unref\.js$/, /\/latest\/index\.js$/],
  });
  const { output } = await bundle.write({
    dir: join(out, "console"),
    format: "esm",
    minify: true,
    comments: false,
    entryFileNames: "[name]-[hash].js",
    chunkFileNames: "[name]-[hash].js",
  });
  await bundle.close();
  const { code: styles } = bundleCss({ filename: join(HERE, "src/style.css"), projectRoot: HERE, minify: true, targets: browsers });
  const style = `style-${createHash("sha256").update(styles).digest("base64url").slice(0, 8)}.css`;
  await writeFile(join(out, "console", style), styles);
  const chunks = output.filter(({ type }) => type === "chunk");
  const script = chunks.find(({ isEntry }) => isEntry).fileName;
  const html = await readFile(join(HERE, "index.html"), "utf8");
  await writeFile(join(out, "index.html"), html.replace("SCRIPT", `console/${script}`).replace("STYLE", `console/${style}`));

  await writeFile(join(out, "console", "licenses.txt"), await licenses());
  const sizes = new Map();
  const embedded = [];
  for (const file of ["index.html", ...(await readdir(join(out, "console"))).sort().map((name) => `console/${name}`)]) {
    const bytes = await readFile(join(out, file));
    const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
    const small = brotliCompressSync(bytes, { params });
    await writeFile(join(out, `${file}.br`), small);
    sizes.set(file, small.length);
    embedded.push(entry(file, bytes));
  }
  const [page, ...files] = embedded;
  const written = "// Written by console/build.mjs: what the daemon embeds of the console.\n";
  await writeFile(join(out, "page.rs"), `${written}${page}\n`);
  await writeFile(join(out, "files.rs"), `${written}[\n${files.map((file) => `    ${file},\n`).join("")}]\n`);
  // What the page loads at once: the entry, and what it imports without `import()`.
  const first = new Set([style]);
  const need = (file) => {
    if (first.has(file)) return;
    first.add(file);
    for (const imported of chunks.find(({ fileName }) => fileName === file)?.imports ?? []) need(imported);
  };
  need(script);
  const sum = (some) => [...sizes].reduce((total, [file, size]) => (/\.(js|css)$/.test(file) && some(file.slice(8)) ? total + size : total), 0);
  const [all, initial] = [sum(() => true), sum((file) => first.has(file))];
  console.log(`console: ${all} bytes with Brotli (at most ${BUDGET}), ${initial} of them at first (at most ${FIRST})`);
  if (all > BUDGET || initial > FIRST) throw new Error("the console is larger than its budget");
  if (check) await compare();
} finally {
  if (check) await rm(out, { recursive: true, force: true });
}

/** A file as a value in Rust: see src/http/console.rs. */
function entry(file, bytes) {
  const [, type] = [["html", "text/html; charset=utf-8"], ["css", "text/css"], ["js", "text/javascript"], ["txt", "text/plain; charset=utf-8"]].find(([end]) => file.endsWith(end));
  const hash = createHash("sha256").update(bytes).digest("base64url").slice(0, 16);
  const include = (name) => `include_bytes!("${name}")`;
  return `File { name: "${file.replace("console/", "")}", hash: "${hash}", media_type: "${type}", plain: ${include(file)}, brotli: ${include(`${file}.br`)} }`;
}

/** The licences of what the scripts contain. */
async function licenses() {
  const names = ["@preact/signals", "@preact/signals-core", "@tanstack/virtual-core", "lossless-json", "preact", "uplot"];
  const texts = names.map(async (name) => {
    const folder = join(HERE, "node_modules", name);
    const file = (await readdir(folder)).find((file) => /^licen[cs]e/i.test(file));
    return `${name}\n\n${(await readFile(join(folder, file), "utf8")).trim()}\n`;
  });
  return `The scripts of the console contain these programs:\n\n${(await Promise.all(texts)).join(`\n${"-".repeat(80)}\n\n`)}`;
}

/** Ends with an error unless dist/ is what was built. Compressed files may differ: each version of Brotli has its own. */
async function compare() {
  const list = async (folder) => (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1)).sort();
  const [built, committed] = [await list(out), await list(DIST).catch(() => [])];
  const differs = [...new Set([...built, ...committed])].filter((file) => !built.includes(file) || !committed.includes(file));
  for (const file of built.filter((file) => !differs.includes(file))) {
    const [a, b] = [await readFile(join(out, file)), await readFile(join(DIST, file))];
    const plain = (bytes) => (file.endsWith(".br") ? brotliDecompressSync(bytes) : bytes);
    if (!plain(a).equals(plain(b))) differs.push(file);
  }
  if (differs.length > 0) throw new Error(`console/dist is not what the sources build; run \`make console\` and commit: ${differs.join(", ")}`);
  console.log("console/dist is what the sources build");
}
