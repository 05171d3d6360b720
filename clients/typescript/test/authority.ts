// A daemon that wants credentials, and the tokens for it, made by the program's own commands.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { BINARY, Daemon } from "./daemon.js";

export class Authority {
  readonly #folder: string;
  readonly daemon: Daemon;
  /** A token that may do everything. */
  readonly operator: string;

  private constructor(folder: string, daemon: Daemon, operator: string) {
    this.#folder = folder;
    this.daemon = daemon;
    this.operator = operator;
  }

  static async start(...flags: string[]): Promise<Authority> {
    const folder = await mkdtemp(join(tmpdir(), "tidings-authority-"));
    await run(folder, "auth", "init");
    // The daemon's clock is the issuer's: so the tokens end on time.
    const file = join(folder, "auth.toml");
    await writeFile(file, `clock_skew = "0s"\n${await readFile(file, "utf8")}`);
    const operator = await run(folder, "token", "issue", "--sub", "me", "--publish", "*", "--subscribe", "*", "--admin", "nodes,connections,revoke,metrics");
    await writeFile(join(folder, "me.token"), operator, { mode: 0o600 });
    return new Authority(folder, await Daemon.start(["--auth", file, ...flags]), operator);
  }

  /** The flags of another daemon with the same credentials. */
  get flags(): string[] {
    return ["--auth", join(this.#folder, "auth.toml")];
  }

  /** A token of `sub` that may subscribe to these channels, for this long. */
  token(sub: string, subscribe: string, ttl: string): Promise<string> {
    return run(this.#folder, "token", "issue", "--sub", sub, "--subscribe", subscribe, "--ttl", ttl);
  }

  /** A token of `sub` that may publish this type, and subscribe to nothing. */
  publisher(sub: string, type: string): Promise<string> {
    return run(this.#folder, "token", "issue", "--sub", sub, "--publish", type);
  }

  async revoke(sub: string): Promise<void> {
    await run(this.#folder, "token", "revoke", "--sub", sub, "--url", this.daemon.url, "--token-file", "me.token");
  }

  async publish(...events: unknown[]): Promise<void> {
    const response = await fetch(`${this.daemon.url}/v1/events`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${this.operator}` },
      body: JSON.stringify(events),
    });
    if (response.status !== 202) throw new Error(await response.text());
  }

  async stop(): Promise<void> {
    await this.daemon.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

async function run(folder: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(BINARY, args, { cwd: folder });
  return stdout.trim();
}
