// The requests of the fallback. The token is in a header, and never in a URL.

import { TidingsError } from "../errors.js";
import { explain, unreachable } from "../explain.js";
import type { CloudEvent } from "../generated/events.js";
import type { JsonCodec } from "../json.js";
import { responseError } from "../problem.js";
import type { FetchLike } from "../publish.js";
import type { Gap } from "../subscription.js";
import type { Timers } from "../timers.js";
import { bearer } from "../token.js";
import { writeCursor } from "./cursor.js";

/** The most events of an answer. The daemon allows no more. */
export const LIMIT = 1_000;
/** How long the daemon may take to answer, in milliseconds, beside what it was asked to wait. */
const TIMEOUT_MS = 10_000;

export type Positions = ReadonlyMap<string, string>;

/** The channels of a request, their filter, and where it begins. */
export interface Query {
  readonly channels: readonly string[];
  /** The filter as JSON. */
  readonly where: string | undefined;
  /** A position of one channel or another form of `since`, or the positions of all channels. */
  readonly since: string | Positions;
}

/** What the log has after a position. */
export interface Page {
  readonly events: readonly { readonly position: string; readonly event: CloudEvent }[];
  readonly cursor: string;
  readonly gap: false | readonly Gap[];
}

type Response = Awaited<ReturnType<FetchLike>>;

export class Requests {
  readonly #base: string;
  readonly #fetch: FetchLike;
  readonly json: JsonCodec;
  readonly timers: Timers;
  /** The token of the connection. */
  token: string | undefined;

  constructor(base: string, fetch: FetchLike, json: JsonCodec, timers: Timers) {
    this.#base = base;
    this.#fetch = fetch;
    this.json = json;
    this.timers = timers;
  }

  /**
   * Looks whether the daemon is there and accepts this token.
   *
   * @throws {TidingsError}
   */
  async check(token: string | undefined, signal: AbortSignal): Promise<void> {
    const { status, headers } = await this.#request("HEAD", "/v1/schemas", "application/json", token, signal);
    if (status === 200 && headers.get("content-type")?.startsWith("application/json")) return;
    // Only a GET has the reason.
    await this.#json("/v1/schemas", token, signal, TIMEOUT_MS);
    throw new TidingsError("unexpected-response", `the server at ${this.#base} is no tidings daemon: check the address and the path in the URL`);
  }

  /**
   * Reads the log, and waits up to `waitSeconds` if it has nothing new.
   *
   * @throws {TidingsError}
   */
  async history(query: Query, limit: number, waitSeconds: number, signal: AbortSignal): Promise<Page> {
    const path = `/v1/events?${parameters(query)}&limit=${limit}&wait=${waitSeconds}`;
    return (await this.#json(path, this.token, signal, TIMEOUT_MS + 1_000 * waitSeconds)) as Page;
  }

  /**
   * Reads what is there.
   *
   * @throws {TidingsError}
   */
  get(path: string, signal: AbortSignal): Promise<unknown> {
    return this.#json(path, this.token, signal, TIMEOUT_MS);
  }

  /**
   * Opens an event stream.
   *
   * @throws {TidingsError}
   */
  async stream(query: Query, signal: AbortSignal): Promise<Response> {
    const path = `/v1/stream?${parameters(query)}`;
    const response = await this.#request("GET", path, "text/event-stream", this.token, signal);
    if (response.status !== 200) throw await this.#refusal(path, response);
    return response;
  }

  async #json(path: string, token: string | undefined, signal: AbortSignal, timeoutMs: number): Promise<unknown> {
    const timeout = new AbortController();
    const abort = () => timeout.abort(signal.reason);
    const late = new TidingsError("timeout", `the daemon at ${this.#base} did not answer in time`);
    const timer = this.timers.start(() => timeout.abort(late), timeoutMs);
    signal.addEventListener("abort", abort);
    if (signal.aborted) abort();
    try {
      const response = await this.#request("GET", path, "application/json", token, timeout.signal);
      if (response.status !== 200) throw await this.#refusal(path, response);
      return this.json.parse(await response.text());
    } catch (cause) {
      if (cause instanceof SyntaxError) throw new TidingsError("unexpected-response", `${this.#base} answered with what is no JSON`, { cause });
      throw timeout.signal.aborted ? timeout.signal.reason : cause;
    } finally {
      this.timers.stop(timer);
      signal.removeEventListener("abort", abort);
    }
  }

  async #request(method: "GET" | "HEAD", path: string, accept: string, token: string | undefined, signal: AbortSignal): Promise<Response> {
    try {
      const headers = { accept, ...(token !== undefined && bearer(token)) };
      return await this.#fetch(`${this.#base}${path}`, { method, headers, signal, cache: "no-store" });
    } catch (cause) {
      throw signal.aborted ? signal.reason : unreachable(this.#base, explain(cause), cause);
    }
  }

  async #refusal(path: string, response: Response): Promise<TidingsError> {
    let body: unknown;
    try {
      body = JSON.parse(await response.text());
    } catch {
      // Not a daemon.
    }
    // Without the parameters, which can be long.
    const url = `${this.#base}${path.replace(/\?.*/, "")}`;
    return responseError(url, response.status, body, response.headers.get("x-request-id"));
  }
}

function parameters({ channels, where, since }: Query): string {
  const parameters = new URLSearchParams(channels.map((channel) => ["channel", channel]));
  if (where !== undefined) parameters.set("where", where);
  parameters.set("since", typeof since === "string" ? since : writeCursor(channels.map((channel) => [channel, since.get(channel)!])));
  return parameters.toString();
}
