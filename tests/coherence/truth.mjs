// The truth: a table of keys and versions in SQLite, which all processes of a run share.

import Database from "better-sqlite3";

/** The clock of all processes of this machine, in milliseconds: CLOCK_MONOTONIC, which no step of the wall clock changes. */
export const now = () => Number(process.hrtime.bigint()) / 1e6;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Tries until it works: on a machine with much else to do, the daemon may not reach its broker in time. */
export async function eventually(call) {
  while (!(await call().then(() => true, () => false))) await sleep(100);
}

export const KEYS = Array.from({ length: 60 }, (_, index) => `key${index}`);

/** A generator of numbers from 0 up to 1, which gives the same ones for the same seed (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Truth {
  #read;
  #write;
  #database;

  constructor(file) {
    this.#database = new Database(file, { timeout: 5_000 });
    this.#database.pragma("journal_mode = WAL");
    // The machine does not fail in a run, only processes do.
    this.#database.pragma("synchronous = OFF");
    this.#database.exec("CREATE TABLE IF NOT EXISTS truth (key TEXT PRIMARY KEY, version INTEGER NOT NULL)");
    this.#read = this.#database.prepare("SELECT version FROM truth WHERE key = ?").pluck();
    this.#write = this.#database
      .prepare(
        "INSERT INTO truth VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET version = version + 1 RETURNING version",
      )
      .pluck();
  }

  /** The committed version of a key. */
  version(key) {
    return this.#read.get(key);
  }

  /** Commits the next version of a key, and returns it. */
  commit(key) {
    return this.#write.get(key);
  }

  close() {
    this.#database.close();
  }
}
