// Finds out why no connection comes up. A WebSocket hardly tells: browsers and Node name no reason, and `ws` only the status.
//
// An HTTP request to the same URL does tell. A daemon answers it with a problem document, anything else does not.

import { type ErrorCode, TidingsError } from "./errors.js";
import { explain, unreachable } from "./explain.js";
import type { Failure } from "./failure.js";
import { CLOSE_CODES } from "./generated/protocol.js";
import { responseError } from "./problem.js";
import { bearer } from "./token.js";

/** How long the answer may take, in milliseconds. */
const TIMEOUT_MS = 5_000;

/** Why no WebSocket comes up. */
export interface Probed {
  /** `undefined` if the reason remains unknown. */
  readonly error?: TidingsError;
  /** Whether HTTP works, so that only the WebSocket is held up. */
  readonly isBlocked?: boolean;
}

/**
 * Finds out why an attempt to connect failed, as far as that is known or worth a request.
 *
 * @param token The token of the bus, if it has one.
 * @param attempts How many attempts in a row have failed.
 */
export async function explainFailure(failure: Failure, token: string | undefined, attempts: number): Promise<Probed> {
  const error = knownError(failure);
  if (error) return { error };
  // After 1, 2, 4, 8 attempts: a daemon that has too much to do should not get twice as many requests.
  return (attempts & (attempts - 1)) === 0 ? probe(failure, token, attempts > 1) : {};
}

/** The error for an attempt that failed, if the WebSocket has told enough. */
function knownError({ base, reason, code, cause }: Failure): TidingsError | undefined {
  if (code !== undefined) {
    const message = `the daemon at ${base} closed the connection at once: ${reason}; the client tries again`;
    return new TidingsError(CODE_OF_CLOSE.get(code) ?? "network", message, { status: code });
  }
  const explanation = explain(cause ?? reason);
  return explanation.sent === false ? unreachable(base, explanation, cause) : undefined;
}

const CODE_OF_CLOSE: ReadonlyMap<number, ErrorCode> = new Map([
  [CLOSE_CODES.draining, "draining"],
  [CLOSE_CODES.brokerUnavailable, "broker-unavailable"],
]);

/**
 * Asks the daemon with the address `base` why no WebSocket comes up there.
 *
 * @param token The token of the bus, if it has one.
 * @param isRepeated Whether the last attempt failed, too. If not, a daemon that responds may just have started.
 */
async function probe({ base, reason }: Failure, token: string | undefined, isRepeated: boolean): Promise<Probed> {
  if (typeof fetch !== "function") return {};
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), TIMEOUT_MS);
  const url = `${base}/v1/ws`;
  const { signal } = timeout;
  const headers = { accept: "application/json", ...(token !== undefined && bearer(token)) };
  const ask = () => fetch(url, { signal, headers });
  try {
    const response = await ask();
    const body: unknown = await response.json().catch(() => undefined);
    const error = responseError(url, response.status, body, response.headers.get("x-request-id"));
    if (error.code !== "upgrade-required") return { error };
    return isRepeated ? { error: blocked(base, reason), isBlocked: true } : {};
  } catch (cause) {
    if (timeout.signal.aborted) {
      const message = `the server at ${base} did not respond within ${TIMEOUT_MS / 1000} s; check the URL, and that the daemon is running`;
      return { error: new TidingsError("timeout", message) };
    }
    const { origin } = (globalThis as { location?: { origin?: string } }).location ?? {};
    // A browser hides an answer that the page may not read. With this mode it says at least whether there was one.
    const responds = origin !== undefined && (await succeeds(fetch(url, { mode: "no-cors", signal })));
    if (!responds) return { error: unreachable(base, explain(cause), cause) };
    // Or the server came back between the two requests.
    return (await succeeds(ask())) ? {} : { error: refusedOrigin(base, origin) };
  } finally {
    clearTimeout(timer);
  }
}

const succeeds = (request: Promise<Response>) => request.then(() => true, () => false);

/** The error where HTTP works and a WebSocket does not. */
function blocked(base: string, reason: string): TidingsError {
  const advice = "if this continues, check that every proxy in between passes on the headers Upgrade and Connection";
  return new TidingsError("network", `the server at ${base} responds, but the client cannot open a WebSocket there: ${reason}; ${advice}`);
}

/** The error where the browser lets the page read no answer. */
function refusedOrigin(base: string, origin: string): TidingsError {
  const advice = `list it in the setting allowed_origins of the daemon (--allowed-origins ${origin}), and check that the URL is that of a daemon`;
  return new TidingsError("forbidden-origin", `the server at ${base} responds, but not to pages of the origin ${origin}: ${advice}`);
}
