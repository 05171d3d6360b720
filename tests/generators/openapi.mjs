// Lints the OpenAPI document of a running daemon with Redocly, and compiles the types that openapi-typescript makes of it.
//
//   checkOpenapi(binary, folder)     throws for a finding that FINDINGS does not have, and for an entry that is no longer found

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import openapiTS, { astToString } from "openapi-typescript";

const REDOCLY = fileURLToPath(new URL("node_modules/@redocly/cli/bin/cli.js", import.meta.url));

/** What Redocly's recommended rules say of the document, and why it stays. */
const FINDINGS = new Map([
  // Redocly wants an object here. JSON Schema 2020-12 allows a boolean wherever a schema can be.
  ["struct #/components/schemas/Attributes/if", "`if: true` is a schema"],
  ["operation-2xx-response #/paths/~1v1~1ws/get/responses", "a WebSocket handshake succeeds with 101"],
  ["no-unused-components #/components/schemas/ClientFrame", "no HTTP body is a frame; a generator makes its type all the same"],
  ["no-unused-components #/components/schemas/ServerFrame", "no HTTP body is a frame; a generator makes its type all the same"],
  ["no-unused-components #/components/responses/MethodNotAllowed", "the answer to the methods that a path does not have"],
]);

/** Leaves the generated types in `folder`, and returns their file. */
export async function checkOpenapi(binary, folder) {
  const file = join(folder, "openapi.json");
  const document = await fetched(binary, folder);
  writeFileSync(file, JSON.stringify(document));
  const found = lint(file, folder);
  const unexpected = found.filter(({ key }) => !FINDINGS.has(key)).map(({ key, message }) => `${key}: ${message}`);
  const gone = [...FINDINGS.keys()].filter((key) => !found.some((problem) => problem.key === key)).map((key) => `${key}: no longer found, remove it from FINDINGS`);
  if (unexpected.length + gone.length > 0) throw new Error(`Redocly about /openapi.json:\n${[...unexpected, ...gone].join("\n")}`);
  const types = join(folder, "openapi.ts");
  writeFileSync(types, astToString(await openapiTS(document)));
  return types;
}

/** The document that the daemon serves. */
async function fetched(binary, folder) {
  const daemon = spawn(binary, ["serve", "--listen", "127.0.0.1:0", "--log-format", "json"], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(daemon, "exit");
  try {
    for await (const line of createInterface({ input: daemon.stderr })) {
      if (!line.includes('"listening"')) continue;
      const response = await fetch(`${JSON.parse(line).url}/openapi.json`);
      if (!response.ok) throw new Error(`GET /openapi.json: ${response.status}`);
      return await response.json();
    }
    throw new Error(`${binary} ended before it listened`);
  } finally {
    daemon.kill();
    daemon.stderr.resume();
    await ended;
  }
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
