// Publishing over HTTP: the same event, under the same id, until the daemon has answered for it.

import { type Backoff, delayBefore } from "./backoff.js";
import { type Mistake, TidingsError } from "./errors.js";

/** What the daemon says of an event that it took. */
export interface Accepted {
  readonly id: string;
  readonly type: string;
  /** Where it stands in its channel. */
  readonly position: string;
  /** Whether an event of this id was taken before; this one is then not delivered again. */
  readonly duplicate: boolean;
}

export interface PublishOptions {
  readonly signal?: AbortSignal;
  /** How often to try, if the daemon cannot be reached or says "later". Default 8. */
  readonly attempts?: number;
}

/** An event that has its id, which is the same however often it is sent. */
export interface Identified {
  readonly id: string;
}

/** What the client needs of `fetch`. */
export type FetchLike = (
  url: string,
  init: { method: "POST"; headers: Record<string, string>; body: string; signal: AbortSignal },
) => Promise<{ readonly status: number; readonly headers: { get(name: string): string | null }; text(): Promise<string> }>;

export interface PublisherOptions {
  /** The nodes, of which any will do. At least one. */
  readonly urls: readonly string[];
  readonly fetch: FetchLike;
  readonly backoff: Backoff;
  readonly random: () => number;
  /** Ends every attempt, when the bus is closed. */
  readonly closed: AbortSignal;
}

/** How long one attempt may take. */
const ATTEMPT_TIMEOUT_MS = 15_000;
/** Too slow for a proxy, rate limited, and the broker or the daemon (or what stands before it) not there for the moment. */
const PASSING: ReadonlySet<number> = new Set([408, 429, 502, 503, 504]);

/** An attempt that may succeed when it is repeated, not earlier than after `afterMs`. */
interface Failure {
  readonly error: TidingsError;
  readonly afterMs: number;
}

export class Publisher {
  readonly #options: PublisherOptions;
  /** Which of the nodes is asked. */
  #node = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Posts an event or several, and answers what was accepted. */
  async post(body: Identified | readonly Identified[], { signal, attempts = 8 }: PublishOptions): Promise<Accepted[]> {
    const { closed, backoff, random } = this.#options;
    const text = JSON.stringify(body);
    const stop = any([closed, signal]);
    try {
      for (let attempt = 0; ; attempt++) {
        stop.signal.throwIfAborted();
        const node = this.#node;
        const outcome = await this.#attempt(this.#options.urls[node]!, text, stop.signal);
        if (Array.isArray(outcome)) return outcome;
        // To the next one, unless another publication went there meanwhile.
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

  async #attempt(url: string, body: string, stop: AbortSignal): Promise<Accepted[] | Failure> {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), ATTEMPT_TIMEOUT_MS);
    const either = any([stop, timeout.signal]);
    try {
      const headers = { "content-type": "application/json" };
      const { fetch } = this.#options;
      const response = await fetch(url, { method: "POST", headers, body, signal: either.signal });
      const answer = readJson(await response.text());
      if (response.status === 202 && isAnswer(answer)) return answer.accepted;
      const error = problem(response.status, answer, response.headers.get("x-request-id"));
      if (!PASSING.has(response.status)) throw error;
      return { error, afterMs: retryAfterMs(response.headers.get("retry-after")) };
    } catch (cause) {
      stop.throwIfAborted();
      if (cause instanceof TidingsError) throw cause;
      const error = timeout.signal.aborted
        ? new TidingsError("timeout", `no answer within ${ATTEMPT_TIMEOUT_MS} ms`)
        : new TidingsError("network", `the daemon could not be reached: ${String(cause)}`, { cause });
      return { error, afterMs: 0 };
    } finally {
      clearTimeout(timer);
      either.release();
    }
  }
}

/** A signal that is aborted when any of `signals` is. (`AbortSignal.any` is younger than what this must run on.) */
function any(signals: readonly (AbortSignal | undefined)[]): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  const released = new AbortController();
  for (const signal of signals) {
    const abort = () => controller.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true, signal: released.signal });
  }
  return { signal: controller.signal, release: () => released.abort() };
}

function sleep(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, delayMs);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isAnswer(answer: unknown): answer is { accepted: Accepted[] } {
  return typeof answer === "object" && answer !== null && "accepted" in answer && Array.isArray(answer.accepted);
}

/** An RFC 9457 problem as an error; what is none comes from something that is no daemon. */
function problem(status: number, body: unknown, requestId: string | null): TidingsError {
  const known = (typeof body === "object" && body !== null ? body : {}) as Partial<
    Record<"code" | "title" | "detail", string> & { errors: Mistake[] }
  >;
  const { code = "unexpected-response", title = `answered with ${status}`, detail = title, errors } = known;
  return new TidingsError(code, detail, { status, errors, requestId: requestId ?? undefined });
}

/** `Retry-After`, which is a number of seconds or a date. */
function retryAfterMs(value: string | null): number {
  if (value === null) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}
