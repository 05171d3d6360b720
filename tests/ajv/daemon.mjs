// Starts a daemon on a free port, for check.mjs.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import readline from "node:readline";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Starts `tidings serve` with the own types of this folder; returns its URL and how to stop it. */
export async function start() {
  const program = process.env.TIDINGS_BIN ?? here("../../target/debug/tidings");
  const flags = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--schemas", here("schemas")];
  const daemon = spawn(program, flags, { cwd: here("."), stdio: ["ignore", "ignore", "pipe"] });
  const stopped = new Promise((resolve) => daemon.once("exit", resolve));
  const log = [];
  const url = await new Promise((resolve, reject) => {
    daemon.once("error", reject);
    stopped.then((code) => reject(new Error(`${program} ended with ${code}:\n${log.join("\n")}`)));
    readline.createInterface({ input: daemon.stderr }).on("line", (line) => {
      log.push(line);
      if (line.includes('"listening"')) resolve(JSON.parse(line).url);
    });
  });
  const stop = async () => {
    daemon.kill("SIGTERM");
    await stopped;
  };
  return { url, stop };
}
