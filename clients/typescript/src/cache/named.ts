// Something about each tag, key and prefix that invalidations name.

import type { Invalidation } from "./source.js";

export class Named<Value> {
  readonly #tags = new Map<string, Value>();
  readonly #keys = new Map<string, Value>();
  readonly #prefixes = new Map<string, Value>();

  get size(): number {
    return this.#tags.size + this.#keys.size + this.#prefixes.size;
  }

  get prefixes(): number {
    return this.#prefixes.size;
  }

  /** Changes the value of each name. One that becomes `undefined` is removed. */
  update({ tags = [], keys = [], prefixes = [] }: Invalidation, change: (value: Value | undefined) => Value | undefined): void {
    for (const [names, values] of [[tags, this.#tags], [keys, this.#keys], [prefixes, this.#prefixes]] as const) {
      for (const name of names) set(values, name, change(values.get(name)));
    }
  }

  /** Changes the value of every name. */
  updateAll(change: (value: Value) => Value | undefined): void {
    for (const values of [this.#tags, this.#keys, this.#prefixes]) for (const [name, value] of values) set(values, name, change(value));
  }

  /** Whether the value of a name that matches an entry passes the test. */
  some(key: string, tags: readonly string[], test: (value: Value) => boolean): boolean {
    const passes = (value: Value | undefined) => value !== undefined && test(value);
    if (passes(this.#keys.get(key)) || tags.some((tag) => passes(this.#tags.get(tag)))) return true;
    for (const [prefix, value] of this.#prefixes) if (test(value) && key.startsWith(prefix)) return true;
    return false;
  }
}

function set<Value>(values: Map<string, Value>, name: string, value: Value | undefined): void {
  if (value === undefined) values.delete(name);
  else values.set(name, value);
}

/** Whether an invalidation names this key or one of these tags. */
export function names({ tags = [], keys = [], prefixes = [] }: Invalidation, key: string, of: readonly string[]): boolean {
  return keys.includes(key) || of.some((tag) => tags.includes(tag)) || prefixes.some((prefix) => key.startsWith(prefix));
}
