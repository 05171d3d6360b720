// Invalidating, writing through, and writing under a hold.

import { type Environment, every, within } from "./clock.js";
import type { Coherence } from "./coherence.js";
import { type Duration, milliseconds } from "./duration.js";
import { type Loads } from "./loads.js";
import type { Invalidation, Source } from "./source.js";
import { TidingsError } from "../errors.js";
import { newId } from "../id.js";

/** How long a writer waits for the hold of a `mutate`, in milliseconds. */
const FIRST_LIMIT_MS = 5_000;
/** How long `put` waits until its own invalidation comes back, in milliseconds. After that it may still be stored. */
const RETURN_LIMIT_MS = 500;
/** The longest hold, in milliseconds. */
const MAX_HOLD_MS = 60_000;

export interface WritesParts {
  readonly environment: Environment;
  readonly source: Source;
  readonly coherence: Coherence;
  readonly loads: Loads;
}

export class Writes {
  readonly #parts: WritesParts;

  constructor(parts: WritesParts) {
    this.#parts = parts;
  }

  async invalidate(what: Invalidation): Promise<{ readonly position: string }> {
    check(what);
    return { position: await this.#publish(what, newId(), {}) };
  }

  async put(key: string, value: unknown, tags: readonly string[], ttlMs: number, save: (value: any) => unknown): Promise<{ readonly position: string }> {
    const { environment, coherence, loads } = this.#parts;
    const id = newId();
    const loadedAt = environment.clock.now();
    const heldFrom = environment.monotonic();
    const returned = new Promise<void>((resolve) => {
      const done = (position: string | undefined) => {
        // `undefined`: another writer came in between, and it is not known whose value is the last one.
        if (position !== undefined && !coherence.isHeld(key, tags, heldFrom)) {
          loads.keep({ key, value, tags, loadedAt, ttlMs }, position);
        }
        resolve();
      };
      stop = coherence.watch({ id, key, tags, done });
    });
    var stop: () => void;
    try {
      await save(value);
      const position = await this.#publish(tags.length > 0 ? { keys: [key], tags } : { keys: [key] }, id, {});
      await within(environment, returned, RETURN_LIMIT_MS, undefined);
      return { position };
    } catch (error) {
      stop!();
      throw error;
    }
  }

  async mutate(what: Invalidation, write: () => unknown, hold: Duration): Promise<unknown> {
    check(what);
    const holdMs = milliseconds(hold, "hold");
    if (holdMs === 0 || holdMs > MAX_HOLD_MS) throw new TypeError(`hold is ${hold}: write at most 60 s`);
    const { environment } = this.#parts;
    const holder = newId();
    const held = { ...what, holdMs };
    await this.#publish(held, holder, { limitMs: FIRST_LIMIT_MS });
    const stopRenewing = every(environment, holdMs / 3, () => {
      // One that fails is followed by the next: the hold lasts for three of them.
      this.#publish(held, newId(), { cause: holder, limitMs: holdMs / 3 }).catch(() => {});
    });
    const end = () => {
      stopRenewing();
      return this.#publish(what, newId(), { cause: holder, limitMs: holdMs });
    };
    let result: unknown;
    try {
      result = await write();
    } catch (error) {
      // Some of it may have been written. Without the invalidation, the hold ends by itself.
      await end().catch(() => {});
      throw error;
    }
    await end();
    return result;
  }

  /** Applies an invalidation here, and publishes it. With `limitMs`, it is tried for so long. */
  async #publish(what: Invalidation, id: string, { cause, limitMs }: { cause?: string; limitMs?: number }): Promise<string> {
    const { environment, source, coherence } = this.#parts;
    coherence.applyOwn(what, id, cause);
    const controller = limitMs === undefined ? undefined : new AbortController();
    const timer = controller && environment.setTimer(() => {
      controller.abort(new TidingsError("timeout", `the invalidation was not acknowledged within ${limitMs! / 1000} s`, { ids: [id] }));
    }, limitMs!);
    try {
      const position = await source.publish(what, { id, cause, signal: controller?.signal, retryTimeoutMs: limitMs });
      coherence.published(id, position);
      return position;
    } catch (error) {
      coherence.published(id, undefined);
      throw error;
    } finally {
      environment.clearTimer(timer);
    }
  }
}

/** Rejects an invalidation that names nothing, which the daemon would refuse. */
function check({ tags = [], keys = [], prefixes = [] }: Invalidation): void {
  if (tags.length + keys.length + prefixes.length === 0) throw new TypeError("name a tag, key or prefix");
}
