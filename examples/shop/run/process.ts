// A process of the shop, which is started again when it dies.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** How long a process stays dead, in milliseconds: long enough to see what the others do meanwhile. */
const DEAD_MS = 2_000;
/** How long a process may take to end by itself. */
const PATIENCE_MS = 3_000;

interface Program {
  /** What its lines begin with in the terminal. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

export class Process {
  readonly name: string;
  readonly #program: Program;
  readonly #changed: () => void;
  #child: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #isEnding = false;

  /** `changed` is called when the process has another pid, or none. */
  constructor(program: Program, changed: () => void) {
    this.name = program.name;
    this.#program = program;
    this.#changed = changed;
    this.#start();
  }

  /** `undefined` while it is dead. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Kills it, as a crash would. It comes back. */
  kill(): void {
    this.#child?.kill("SIGKILL");
  }

  /** Ends it for good. */
  async end(): Promise<void> {
    this.#isEnding = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child === undefined) return;
    const timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
    child.kill("SIGTERM");
    await once(child, "exit");
    clearTimeout(timer);
  }

  #start(): void {
    const { name, command, args, env } = this.#program;
    // `detached`: Ctrl-C is for the start program, which ends the others in its own way.
    const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"], detached: true });
    this.#child = child;
    for (const output of [child.stdout, child.stderr]) {
      createInterface(output).on("line", (line) => console.log(`${name.padEnd(7)} │ ${line}`));
    }
    child.once("error", (error) => this.#ended(error.message));
    child.once("exit", (code, signal) => this.#ended(signal ?? `exit code ${code}`));
    this.#changed();
  }

  #ended(reason: string): void {
    if (this.#child === undefined) return;
    this.#child = undefined;
    this.#changed();
    if (this.#isEnding) return;
    console.log(`${this.name.padEnd(7)} │ ended (${reason}); it is started again in ${DEAD_MS / 1000} s`);
    this.#restart = setTimeout(() => this.#start(), DEAD_MS);
  }
}
