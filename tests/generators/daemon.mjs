// Runs a daemon for as long as a function needs it.
//
//   await withDaemon(binary, folder, flags, async (url) => …)

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export async function withDaemon(binary, folder, flags, use) {
  const command = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", ...flags];
  const daemon = spawn(binary, command, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(daemon, "exit");
  try {
    for await (const line of createInterface({ input: daemon.stderr })) {
      if (line.includes('"listening"')) return await use(JSON.parse(line).url);
    }
    throw new Error(`${binary} ended before it listened`);
  } finally {
    daemon.kill();
    daemon.stderr.resume();
    await ended;
  }
}

/** A document that the daemon serves. */
export async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`GET ${url}: ${response.status}`);
  return response.json();
}
