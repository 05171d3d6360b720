// Loads some hits again, and reports values that changed without an invalidation: a writer that publishes nothing, or a tag that is
// missing or misspelt.

import { type Environment, sleep } from "./clock.js";
import type { Reports } from "./events.js";
import type { Proof } from "./proof.js";
import type { Entry, Store } from "./store.js";
import type { Loader, VerifyOptions } from "./types.js";
import type { Validity } from "./validity.js";

/** How many values are checked at the same time. */
const MAX_CHECKS = 4;

export interface VerifierParts {
  readonly environment: Environment;
  readonly reports: Reports;
  readonly validity: Validity;
  readonly store: Store;
  readonly proof: Proof;
  readonly boundMs: number;
}

export class Verifier {
  readonly #parts: VerifierParts;
  readonly #sample: number;
  readonly #equal: (stored: unknown, loaded: unknown) => boolean;
  readonly #keys = new Set<string>();

  constructor(parts: VerifierParts, { sample, equal = sameJson }: VerifyOptions) {
    this.#parts = parts;
    this.#sample = sample;
    this.#equal = equal;
  }

  /** Notices a hit, and checks it if it is in the sample. */
  sampled(entry: Entry, load: Loader<any, any>): void {
    if (this.#parts.environment.random() >= this.#sample || this.#keys.size >= MAX_CHECKS || this.#keys.has(entry.key)) return;
    this.#keys.add(entry.key);
    void this.#check(entry, load).catch(() => {}).finally(() => this.#keys.delete(entry.key));
  }

  async #check(entry: Entry, load: Loader<any, any>): Promise<void> {
    const { environment, reports, validity, store, proof, boundMs } = this.#parts;
    const { key, value } = entry;
    const isServed = () => store.get(key) === entry && validity.isValid(entry, environment.clock.now());
    // An invalidation of what has just changed arrives meanwhile.
    await sleep(environment, boundMs);
    if (!isServed()) return;
    reports.count.loads++;
    const ignore = () => {};
    const loaded = await load({ key, signal: new AbortController().signal, previous: value, tag: ignore, ttl: ignore, skip: ignore });
    if (this.#equal(value, loaded)) return;
    // The writer invalidates after its commit: give it the same time again.
    await sleep(environment, boundMs);
    if (!(await proof.reaches(proof.demand(0, 0))) || !isServed()) return;
    store.delete(key);
    reports.count.mismatches++;
    reports.emit("mismatch", { key, tags: entry.tags.map(({ name }) => name) });
  }
}

function sameJson(stored: unknown, loaded: unknown): boolean {
  return JSON.stringify(stored) === JSON.stringify(loaded);
}
