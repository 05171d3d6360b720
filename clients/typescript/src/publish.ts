// Publishing over HTTP, with retries.
//
// Every event has an id before the first attempt. A retry sends the same id, which the daemon takes only once, so that a lost
// response does not publish an event twice. After a failure, the next attempt goes to the next node.

import { type Backoff, delayBefore } from "./backoff.js";
import { type Mistake, TidingsError } from "./errors.js";
import { TEMPORARY_STATUSES } from "./generated/protocol.js";

/** The daemon's confirmation of a published event. */
export interface Accepted {
  readonly id: string;
  readonly type: string;
  /** The position of the event in its channel. */
  readonly position: string;
  /** Whether an event with this id was published before. If so, this one is not delivered again. */
  readonly duplicate: boolean;
}

/** The options of `bus.publish` and `bus.publishAll`. */
export interface PublishOptions {
  /** Ends publishing when it is aborted. The events may have been published already. */
  readonly signal?: AbortSignal;
  /** How many attempts to make while the daemon cannot be reached, or refuses only for the moment. Default: 8. */
  readonly attempts?: number;
}

/** An event with an id, which every attempt sends. */
export interface EventWithId {
  readonly id: string;
}

/** The part of `fetch` that the client uses. */
export type FetchLike = (
  url: string,
  init: { method: "POST"; headers: Record<string, string>; body: string; signal: AbortSignal },
) => Promise<{ readonly status: number; readonly headers: { get(name: string): string | null }; text(): Promise<string> }>;

export interface PublisherOptions {
  /** The URL of the route on each node. At least one. */
  readonly urls: readonly string[];
  readonly fetch: FetchLike;
  readonly backoff: Backoff;
  readonly random: () => number;
  /** Aborted when the bus is closed, which ends every attempt. */
  readonly closed: AbortSignal;
}

/** How long one attempt may take, in milliseconds. */
const ATTEMPT_TIMEOUT_MS = 15_000;

/** The transient failure of an attempt. */
interface TransientFailure {
  readonly error: TidingsError;
  /** The shortest delay before the next attempt, in milliseconds: the Retry-After of the daemon. */
  readonly afterMs: number;
}

/** Posts events to the nodes of a bus. */
export class Publisher {
  readonly #options: PublisherOptions;
  /** The index of the current node. */
  #node = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /**
   * Posts one event or several, and returns the daemon's confirmations in the same order.
   *
   * @throws {TidingsError} with the `ids` of the events, if the daemon refuses them or the attempts are used up.
   */
  async post(body: EventWithId | readonly EventWithId[], { signal, attempts = 8 }: PublishOptions): Promise<Accepted[]> {
    const { closed, backoff, random } = this.#options;
    const text = JSON.stringify(body);
    const stop = anyOf([closed, signal]);
    try {
      for (let attempt = 0; ; attempt++) {
        stop.signal.throwIfAborted();
        const node = this.#node;
        const outcome = await this.#attempt(this.#options.urls[node]!, text, stop.signal);
        if (Array.isArray(outcome)) return outcome;
        // Move on to the next node, unless a concurrent call has done so.
        if (node === this.#node) this.#node = (node + 1) % this.#options.urls.length;
        if (attempt + 1 >= attempts) throw outcome.error;
        await sleep(Math.max(outcome.afterMs, delayBefore(attempt, backoff, random)), stop.signal);
      }
    } catch (error) {
      if (!(error instanceof TidingsError)) throw error;
      const { code, message, cause } = error;
      throw new TidingsError(code, message, { ...error, cause, ids: [body].flat().map(({ id }) => id) });
    } finally {
      stop.release();
    }
  }

  /** One attempt at one node. Returns a transient failure, and throws any other. */
  async #attempt(url: string, body: string, stop: AbortSignal): Promise<Accepted[] | TransientFailure> {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), ATTEMPT_TIMEOUT_MS);
    const either = anyOf([stop, timeout.signal]);
    try {
      const headers = { "content-type": "application/json" };
      const { fetch } = this.#options;
      const response = await fetch(url, { method: "POST", headers, body, signal: either.signal });
      const parsed = parseJson(await response.text());
      if (response.status === 202 && isAccepted(parsed)) return parsed.accepted;
      const error = problemError(response.status, parsed, response.headers.get("x-request-id"));
      if (!TEMPORARY_STATUSES.has(response.status)) throw error;
      return { error, afterMs: retryAfterMs(response.headers.get("retry-after")) };
    } catch (cause) {
      stop.throwIfAborted();
      if (cause instanceof TidingsError) throw cause;
      const error = timeout.signal.aborted
        ? new TidingsError("timeout", `the daemon did not respond within ${ATTEMPT_TIMEOUT_MS} ms`)
        : new TidingsError("network", `the daemon could not be reached: ${String(cause)}`, { cause });
      return { error, afterMs: 0 };
    } finally {
      clearTimeout(timer);
      either.release();
    }
  }
}

/** A signal that is aborted when any of `signals` is. Older runtimes have no `AbortSignal.any`. */
function anyOf(signals: readonly (AbortSignal | undefined)[]): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  const released = new AbortController();
  for (const signal of signals) {
    const abort = () => controller.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true, signal: released.signal });
  }
  return { signal: controller.signal, release: () => released.abort() };
}

/** Waits for `delayMs`. Rejects when the signal is aborted. */
function sleep(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, delayMs);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

/** Parses JSON. Returns `undefined` for any other text. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Whether this is the body of a 202 response. */
function isAccepted(body: unknown): body is { accepted: Accepted[] } {
  return typeof body === "object" && body !== null && "accepted" in body && Array.isArray(body.accepted);
}

/** The error for a problem document (RFC 9457). Any other body is not from a daemon: `unexpected-response`. */
function problemError(status: number, body: unknown, requestId: string | null): TidingsError {
  const known = (typeof body === "object" && body !== null ? body : {}) as Partial<
    Record<"code" | "title" | "detail", string> & { errors: Mistake[] }
  >;
  const { code = "unexpected-response", title = `HTTP status ${status}`, detail = title, errors } = known;
  return new TidingsError(code, detail, { status, errors, requestId: requestId ?? undefined });
}

/** The delay of a `Retry-After` header, which holds a number of seconds or a date. In milliseconds. */
function retryAfterMs(value: string | null): number {
  if (value === null) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}
