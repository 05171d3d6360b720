// Lints the OpenAPI document of a running daemon with Redocly, and makes types of it with openapi-typescript and quicktype.
//
//   checkOpenapi(url, folder)     throws for a finding that FINDINGS does not have, and for an entry that is no longer found;
//                                 leaves the generated types in `folder`, and returns those in TypeScript

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import openapiTS, { astToString } from "openapi-typescript";

import { fetched } from "./daemon.mjs";
import { quicktypedEach } from "./quicktyped.mjs";

const REDOCLY = fileURLToPath(new URL("node_modules/@redocly/cli/bin/cli.js", import.meta.url));

/** What Redocly's recommended rules say of the document, and why it stays. */
const FINDINGS = new Map([
  ["operation-2xx-response #/paths/~1v1~1ws/get/responses", "a WebSocket handshake succeeds with 101"],
  ["no-unused-components #/components/schemas/ClientFrame", "no HTTP body is a frame; a generator makes its type all the same"],
  ["no-unused-components #/components/schemas/ServerFrame", "no HTTP body is a frame; a generator makes its type all the same"],
  ["no-unused-components #/components/responses/MethodNotAllowed", "the answer to the methods that a path does not have"],
]);

export async function checkOpenapi(url, folder) {
  const file = join(folder, "openapi.json");
  const document = await fetched(`${url}/openapi.json`);
  writeFileSync(file, JSON.stringify(document));
  const found = lint(file, folder);
  const unexpected = found.filter(({ key }) => !FINDINGS.has(key)).map(({ key, message }) => `${key}: ${message}`);
  const gone = [...FINDINGS.keys()].filter((key) => !found.some((problem) => problem.key === key)).map((key) => `${key}: no longer found, remove it from FINDINGS`);
  if (unexpected.length + gone.length > 0) throw new Error(`Redocly about /openapi.json:\n${[...unexpected, ...gone].join("\n")}`);
  const made = (name, text) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const quicktypes = (lang) => quicktypedEach("openapi", JSON.stringify(document), "/components/schemas/", lang);
  made("openapi_quicktype.py", await quicktypes("python"));
  return [made("openapi.ts", astToString(await openapiTS(document))), made("openapi.quicktype.ts", await quicktypes("typescript"))];
}

/** What Redocly finds, each with the rule and the place as its key. */
function lint(file, folder) {
  const env = { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" };
  let output;
  try {
    output = execFileSync(process.execPath, [REDOCLY, "lint", file, "--extends", "recommended", "--format", "json"], { cwd: folder, env, stdio: "pipe" });
  } catch (error) {
    // It exits with 1 if there is a finding of severity `error`.
    if (!error.stdout?.length) throw error;
    output = error.stdout;
  }
  return JSON.parse(output).problems.map(({ ruleId, message, location }) => ({ key: `${ruleId} ${location[0].pointer}`, message }));
}
