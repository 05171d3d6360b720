// Gives the AsyncAPI document to the reference parser, and its schemas to code generators; compiles what they make.
//
//   checkAsyncapi(url, folder)     throws for a finding that FINDINGS does not have, and for an entry that is no longer found;
//                                  leaves the generated types in `folder`, and returns their files

import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import openapiTS, { astToString } from "openapi-typescript";

import { fetched } from "./daemon.mjs";
import { quicktypedEach } from "./quicktyped.mjs";

// Its ESM build imports a package that Node does not resolve.
const { Parser } = createRequire(import.meta.url)("@asyncapi/parser");

/** What the parser says of the document beside errors, and why it stays. */
const FINDINGS = new Map([
  ["asyncapi-latest-version asyncapi", "the document is AsyncAPI 3.0, which more tools read than 3.1; it needs nothing of 3.1"],
]);

export async function checkAsyncapi(url, folder) {
  const asyncapi = await fetched(`${url}/asyncapi.json`);
  const { document, diagnostics } = await new Parser().parse(JSON.stringify(asyncapi));
  const found = diagnostics.map(({ code, path, message }) => ({ key: `${code} ${path.join("/")}`, message }));
  const unexpected = found.filter(({ key }) => !FINDINGS.has(key)).map(({ key, message }) => `${key}: ${message}`);
  const gone = [...FINDINGS.keys()].filter((key) => !found.some((finding) => finding.key === key)).map((key) => `${key}: no longer found, remove it from FINDINGS`);
  if (unexpected.length + gone.length > 0) throw new Error(`the AsyncAPI parser about /asyncapi.json:\n${[...unexpected, ...gone].join("\n")}`);
  if (document === undefined || document.messages().length < 20) throw new Error("the AsyncAPI parser finds no messages");
  const openapi = asOpenapi(asyncapi);
  const made = (name, text) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const quicktypes = await quicktypedEach("asyncapi", JSON.stringify(openapi), "/components/schemas/");
  return [made("asyncapi.ts", astToString(await openapiTS(openapi))), made("asyncapi.quicktype.ts", quicktypes)];
}

/** The schemas of an AsyncAPI document as the components of an OpenAPI document: without their formats. */
function asOpenapi(asyncapi) {
  const schemas = Object.entries(asyncapi.components.schemas).map(([name, { schema }]) => [name, schema]);
  const text = JSON.stringify(Object.fromEntries(schemas));
  const components = { schemas: JSON.parse(text.replaceAll(/("\$ref":"#\/components\/schemas\/[^"/]+)\/schema"/g, '$1"')) };
  return { openapi: "3.1.0", info: asyncapi.info, paths: {}, components };
}
