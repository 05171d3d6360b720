// Publishing over HTTP, with retries.
//
// Every event has an id before the first attempt. A retry sends the same id, which the daemon takes only once, so that a lost
// response does not publish an event twice. After a failure, the next attempt goes to the next node.
//
// A call that can connect to no node fails as soon as each was tried: the daemon is most likely down, and the caller should
// learn that at once. If a node refused for the moment or the response was lost, the daemon is there, so the call retries.

import { onAbort } from "./aborting.js";
import { type Backoff, delayBefore } from "./backoff.js";
import { TidingsError } from "./errors.js";
import { TEMPORARY_STATUSES } from "./generated/protocol.js";
import type { JsonCodec } from "./json.js";
import { responseError } from "./problem.js";
import { MAX_TIMER_MS } from "./timers.js";
import { bearer, type Credential } from "./token.js";

/** The daemon's confirmation of a published event. */
export interface Accepted {
  readonly id: string;
  readonly type: string;
  /** The position of the event in its channel. */
  readonly position: string;
  /** Whether an event with this id was published before. If so, this one is not delivered again. */
  readonly duplicate: boolean;
}

/** The daemon's confirmation of `bus.publish`. */
export interface Published extends Accepted {
  /** The `cache-invalidate` events that the daemon's cascades have made of it, and taken in the same step. */
  readonly cascaded: readonly Accepted[];
}

/** The daemon's confirmations of `bus.publishAll`, in the order of the events. */
export interface PublishedAll extends Array<Accepted> {
  /** The `cache-invalidate` events that the daemon's cascades have made of them, and taken in the same step. */
  readonly cascaded: readonly Accepted[];
}

/** The options of `bus.publish` and `bus.publishAll`. */
export interface PublishOptions {
  /** Ends publishing when it is aborted. The events may have been published already. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How long to retry while no node can be reached, or while all of them refuse for the moment, in milliseconds. With 0, each
   * node is tried once.
   *
   * By default, publishing fails at once if it can connect to no node. It retries for 15 s if a node refused for the moment
   * (429, 503) or did not respond. Browsers do not tell these apart: there it retries for 2 s after a failure without response.
   */
  readonly retryTimeoutMs?: number | undefined;
}

/** An event with an id, which every attempt sends. */
export interface EventWithId {
  readonly id: string;
}

/** The part of `fetch` that the client uses. */
export type FetchLike = (
  url: string,
  init: { method: "GET" | "HEAD" | "POST"; headers: Record<string, string>; body?: string; signal: AbortSignal; cache?: "no-store" },
) => Promise<ResponseLike>;

/** The part of a `Response` that the client uses. */
export interface ResponseLike {
  readonly status: number;
  readonly headers: {
    /** The value of a header. */
    get(name: string): string | null;
  };
  /** Needed for event streams only. */
  readonly body?: ReadableStream<Uint8Array> | null;
  /** The body. */
  text(): Promise<string>;
}

export interface PublisherOptions {
  /** The address of each node. At least one. */
  readonly urls: readonly string[];
  readonly credential: Credential | undefined;
  readonly fetch: FetchLike;
  readonly json: JsonCodec;
  readonly backoff: Backoff;
  readonly random: () => number;
  /** The default of the option of a call. */
  readonly retryTimeoutMs: number | undefined;
  /** Aborted when the bus is closed, which ends every attempt. */
  readonly closed: AbortSignal;
}

/** How long one attempt may take, in milliseconds. */
const ATTEMPT_TIMEOUT_MS = 15_000;
/** How long a call retries by default after an attempt that reached a node, in milliseconds. */
const REACHED_RETRY_MS = 15_000;
/** The same where the runtime does not tell whether an attempt reached a node. */
const UNKNOWN_RETRY_MS = 2_000;
/** The longest pause that a `Retry-After` may ask for, in milliseconds. */
const MAX_PAUSE_MS = MAX_TIMER_MS;

/** The transient failure of an attempt. */
interface TransientFailure {
  readonly error: TidingsError;
  /** The shortest delay before the next attempt, in milliseconds: the Retry-After of the daemon. */
  readonly afterMs: number;
  /** How long the call retries by default after such a failure, in milliseconds. */
  readonly retryMs: number;
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
   * Posts one event.
   *
   * @throws {TidingsError} as {@link post}.
   */
  async postOne(event: EventWithId, options: PublishOptions): Promise<Published> {
    const all = await this.post(event, options);
    const [accepted] = all;
    if (accepted === undefined) throw new TidingsError("unexpected-response", "the response lists no accepted event: check that the URL is that of a tidings daemon");
    return { ...accepted, cascaded: all.cascaded };
  }

  /**
   * Posts one event or several, and returns the daemon's confirmations in the same order.
   *
   * @throws {TidingsError} with the `ids` of the events, if the daemon refuses them or the attempts are used up.
   */
  async post(body: EventWithId | readonly EventWithId[], options: PublishOptions): Promise<PublishedAll> {
    const { urls, closed, backoff, random } = this.#options;
    const { signal, retryTimeoutMs = this.#options.retryTimeoutMs } = options;
    const text = this.#options.json.stringify(body);
    const stop = anyOf([closed, signal]);
    const start = performance.now();
    let defaultRetryMs = 0;
    try {
      for (let attempt = 0; ; attempt++) {
        stop.signal.throwIfAborted();
        const node = this.#node;
        const outcome = await this.#attempt(urls[node]!, text, stop.signal);
        if (Array.isArray(outcome)) return outcome;
        // Move on to the next node, unless a concurrent call has done so.
        if (node === this.#node) this.#node = (node + 1) % urls.length;
        defaultRetryMs = Math.max(defaultRetryMs, outcome.retryMs);
        const hasUntriedNodes = attempt + 1 < urls.length;
        // The next node has not responded yet, so this node's Retry-After does not apply to it.
        const delayMs = Math.max(hasUntriedNodes ? 0 : outcome.afterMs, delayBefore(attempt, backoff, random));
        const isTimeUp = performance.now() - start + delayMs > (retryTimeoutMs ?? defaultRetryMs);
        if (isTimeUp && !hasUntriedNodes) throw outcome.error;
        await sleep(isTimeUp ? 0 : delayMs, stop.signal);
      }
    } catch (error) {
      if (!(error instanceof TidingsError)) throw error;
      const { code, message, cause } = error;
      throw new TidingsError(code, message, { ...error, cause, ids: [body].flat().map(({ id }) => id) });
    } finally {
      stop.release();
    }
  }

  /**
   * One attempt at one node, with the token that is held. If the daemon refuses that one, a new one is tried once: the daemon has
   * taken nothing. Returns a transient failure, and throws any other.
   */
  async #attempt(base: string, body: string, stop: AbortSignal): Promise<PublishedAll | TransientFailure> {
    const { credential } = this.#options;
    if (credential === undefined) return this.#send(base, body, undefined, stop);
    let refusal: { token: string; error: TidingsError } | undefined;
    for (;;) {
      let token;
      try {
        token = await unlessAborted(credential.get(), stop);
      } catch (error) {
        if (!(error instanceof TidingsError) || error.code !== "no-token") throw error;
        return { error, afterMs: 0, retryMs: REACHED_RETRY_MS };
      }
      if (token.text === refusal?.token) throw refusal.error;
      try {
        return await this.#send(base, body, token.text, stop);
      } catch (error) {
        if (!(error instanceof TidingsError) || error.code !== "unauthenticated") throw error;
        credential.refused(token.text);
        if (token.isNew || refusal !== undefined || !credential.isRenewable) throw error;
        refusal = { token: token.text, error };
      }
    }
  }

  /** Sends the request of an attempt. */
  async #send(base: string, body: string, token: string | undefined, stop: AbortSignal): Promise<PublishedAll | TransientFailure> {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), ATTEMPT_TIMEOUT_MS);
    const either = anyOf([stop, timeout.signal]);
    const url = `${base}/v1/events`;
    try {
      const headers = { "content-type": "application/json", ...(token !== undefined && bearer(token)) };
      const { fetch } = this.#options;
      const response = await fetch(url, { method: "POST", headers, body, signal: either.signal });
      const parsed = parseJson(await response.text());
      if (response.status === 202 && isAccepted(parsed)) return Object.assign(parsed.accepted, { cascaded: parsed.cascaded ?? [] });
      const error = responseError(url, response.status, parsed, response.headers.get("x-request-id"));
      if (!TEMPORARY_STATUSES.has(response.status)) throw error;
      return { error, afterMs: retryAfterMs(response.headers.get("retry-after")), retryMs: REACHED_RETRY_MS };
    } catch (cause) {
      stop.throwIfAborted();
      if (cause instanceof TidingsError) throw cause;
      if (timeout.signal.aborted) {
        const message = `the daemon at ${base} did not respond within ${ATTEMPT_TIMEOUT_MS / 1000} s; try again, or look at its log`;
        return { error: new TidingsError("timeout", message), afterMs: 0, retryMs: REACHED_RETRY_MS };
      }
      const { error, sent } = await explained(base, cause);
      return { error, afterMs: 0, retryMs: sent === undefined ? UNKNOWN_RETRY_MS : sent ? REACHED_RETRY_MS : 0 };
    } finally {
      clearTimeout(timer);
      either.release();
    }
  }
}

/**
 * The error of a request without a response, and whether the request may have left this process. Where the explanation cannot be
 * loaded, as in a page without a network, the error has the reason alone.
 */
async function explained(base: string, cause: unknown): Promise<{ error: TidingsError; sent?: boolean | undefined }> {
  const loaded = await import("./explain.js").catch(() => undefined);
  if (loaded === undefined) return { error: new TidingsError("network", `cannot reach the daemon at ${base}: ${String(cause)}`, { cause }) };
  const explanation = loaded.explain(cause);
  return { error: loaded.unreachable(base, explanation, cause), sent: explanation.sent };
}

/** The promise, but rejected as soon as the signal is aborted. */
function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const forget = onAbort(signal, () => reject(signal.reason));
    void promise.then(resolve, reject).finally(forget);
  });
}

/** A signal that is aborted when any of `signals` is. Older runtimes have no `AbortSignal.any`. */
function anyOf(signals: readonly (AbortSignal | undefined)[]): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  const forget = signals.map((signal) => onAbort(signal, () => controller.abort(signal?.reason)));
  return { signal: controller.signal, release: () => forget.forEach((forget) => forget()) };
}

/** Waits for `delayMs`. Rejects when the signal is aborted. */
function sleep(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => (forget(), resolve()), delayMs);
    const forget = onAbort(signal, () => (clearTimeout(timer), reject(signal.reason)));
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
function isAccepted(body: unknown): body is { accepted: Accepted[]; cascaded?: Accepted[] } {
  return typeof body === "object" && body !== null && "accepted" in body && Array.isArray(body.accepted);
}

/** The delay of a `Retry-After` header, which holds a number of seconds or a date. In milliseconds, at most a day. */
function retryAfterMs(value: string | null): number {
  if (value === null) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return ms > 0 ? Math.min(ms, MAX_PAUSE_MS) : 0;
}
