// The bus of the handlers: brings invalidations, proves that none is missing, and publishes those of this process.

import type { Bus } from "../bus.js";
import { type Environment, systemEnvironment } from "../cache/clock.js";
import { type Duration, milliseconds } from "../cache/duration.js";
import { Proof } from "../cache/proof.js";
import { busSource, type Source } from "../cache/source.js";
import { NEVER } from "../cache/store.js";
import { connect } from "../connect.js";
import type { TidingsError } from "../errors.js";
import { newId } from "../id.js";
import type { ConnectOptions } from "../types.js";
import { type Fence, TagLog, type Verdict } from "./tags.js";

/** The longest tag that the daemon takes. */
const MAX_TAG_LENGTH = 256;
/** The longest time that an old value may be served, in milliseconds: a year is what Next.js calls "max". */
const MAX_STALE_MS = 366 * 24 * 3_600_000;

/** The options of `createNextHandler`. */
export interface NextHandlerOptions extends ConnectOptions {
  /** The URL of the daemon. */
  readonly url: string;
  /** How old what is served can be, at most, after an invalidation was acknowledged. Default: 2 s. */
  readonly bound?: Duration | undefined;
  /** How many bytes are kept in this process. Default: 50 MB. */
  readonly maxBytes?: number | undefined;
  /** Called for every error of the bus. Default: the console. */
  readonly onError?: ((error: TidingsError) => void) | undefined;
}

/** What Next.js knows of a request, as far as it is needed here. */
interface NextRequestStore {
  readonly pendingRevalidatedTags?: readonly { readonly tag: string; readonly revalidatedAt?: number }[];
}

/** An invalidation that a request has published. */
interface Published {
  /** When the application called for it. */
  readonly calledAt: number;
  readonly result: Promise<void>;
}

export class NextCoherence {
  readonly log: TagLog;
  readonly #bus: Bus;
  readonly #source: Source;
  readonly #environment: Environment = systemEnvironment();
  readonly #proof: Proof;
  readonly #boundMs: number;
  /** What the clock is ahead of `performance.now()`. It can only grow, so an older difference makes a value look older. */
  readonly #ahead: number = this.#environment.clock.now() - performance.now();
  /** What is published in this turn. */
  readonly #publishing = new Map<string, Promise<void>>();
  /** By request: what it has published. */
  readonly #published = new WeakMap<NextRequestStore, Map<string, Published>>();

  constructor({ url, bound = "2s", onError, ...options }: Omit<NextHandlerOptions, "maxBytes">) {
    this.#bus = connect(url, options);
    if (onError) this.#bus.onError(onError);
    this.#source = busSource(this.#bus);
    this.#boundMs = Math.max(0, milliseconds(bound, "bound") - this.#environment.clockErrorMs);
    // `onError` gets it from the bus.
    this.log = new TagLog((error) => onError === undefined && console.error("tidings:", error));
    this.#proof = new Proof(this.#source, this.#environment, () => this.log.proven());
    this.#source.start(this.log, false);
    this.#proof.begin();
  }

  /** Waits for a proof, if the last one is about to be too old, for at most 100 ms. */
  async refresh(): Promise<void> {
    await this.#isProven(NEVER);
  }

  /** Whether what has this fence and these tags may be served now. */
  async judge(fence: Fence, tags: readonly string[]): Promise<Verdict> {
    if (this.log.judge(fence, tags) === "gone") return "gone";
    if (!(await this.#isProven(Math.floor(fence.monotonic + this.#ahead)))) return "gone";
    return this.log.judge(fence, tags);
  }

  /**
   * Applies an invalidation here, and publishes it once. Next.js tells each handler of it, in the same turn. After a Server Action, it
   * tells the same ones again when the page is rendered.
   *
   * @throws {TidingsError} if the daemon does not take it.
   */
  invalidate(tags: readonly string[], expireSeconds: number | undefined): Promise<void> {
    const names = [...new Set(tags.map(busTag))].sort();
    if (names.length === 0) return Promise.resolve();
    const staleForMs = Math.min(MAX_STALE_MS, Math.max(0, Math.round((expireSeconds ?? 0) * 1_000)));
    const key = JSON.stringify([names, staleForMs]);
    const current = this.#publishing.get(key);
    if (current !== undefined) return current;
    const request = nextRequest();
    // When the application last called for it. Unknown to a version of Next.js that does not say: then it is published again.
    const calledAt = Math.max(...(request?.pendingRevalidatedTags ?? []).map(({ tag, revalidatedAt = NaN }) => (tags.includes(tag) ? revalidatedAt : 0)));
    const ofRequest = request && (this.#published.get(request) ?? new Map<string, Published>());
    const former = ofRequest?.get(key);
    if (former !== undefined && former.calledAt >= calledAt) return former.result;
    const what = { tags: names, ...(staleForMs > 0 && { staleForMs }), reason: "next" };
    const id = newId();
    this.log.applyOwn(what, id);
    const result = this.#source.publish(what, { id }).then(() => {});
    this.#publishing.set(key, result);
    setTimeout(() => this.#publishing.delete(key), 0);
    if (request !== undefined && ofRequest !== undefined) {
      this.#published.set(request, ofRequest.set(key, { calledAt, result }));
      // What failed is tried again.
      result.catch(() => void ofRequest.delete(key));
    }
    return result;
  }

  close(): void {
    this.#bus.close();
  }

  /** Whether no invalidation is missing, up to the bound before now, for what was loaded at `loadedAt` by the clock. */
  async #isProven(loadedAt: number): Promise<boolean> {
    const now = this.#environment.clock.now();
    const demand = this.#proof.demand(now, this.#boundMs);
    if (this.#boundMs === 0 || !this.#proof.covers(demand, loadedAt)) return this.#proof.reaches(demand);
    if (2 * (now - Math.max(loadedAt, this.#proof.at)) > this.#boundMs) this.#proof.refresh();
    return true;
  }
}

/**
 * A tag as it is on the bus. Tags of paths can be longer than the daemon takes; such a one is replaced by its beginning and a hash
 * (FNV-1a with 64 bits). Two paths with the same hash would be invalidated together.
 */
export function busTag(tag: string): string {
  if (tag.length <= MAX_TAG_LENGTH) return tag;
  let hash = 0xcbf29ce484222325n;
  for (let index = 0; index < tag.length; index++) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(tag.charCodeAt(index))) * 0x100000001b3n);
  }
  return `${tag.slice(0, MAX_TAG_LENGTH - 17)}#${hash.toString(16).padStart(16, "0")}`;
}

/**
 * The request in which this is called, if Next.js tells. It keeps the requests in a global under a symbol with its version. Nothing
 * public tells an invalidation that it repeats from one that the application has called for again.
 */
function nextRequest(): NextRequestStore | undefined {
  const symbol = Object.getOwnPropertySymbols(globalThis).find(({ description }) => description?.startsWith("@next/work-async-storage@"));
  if (symbol === undefined) return undefined;
  return (globalThis as unknown as Record<symbol, { getStore?: () => NextRequestStore | undefined }>)[symbol]?.getStore?.();
}
