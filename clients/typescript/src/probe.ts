// Finds out why no WebSocket comes up. A WebSocket hardly tells: browsers and Node name no reason, and `ws` only the status.
//
// An HTTP request to the same URL does tell. A daemon answers it with a problem document, anything else does not.

import { TidingsError } from "./errors.js";
import { explain, responseError, unreachable } from "./explain.js";
import { bearer } from "./token.js";

/** How long the answer may take, in milliseconds. */
const TIMEOUT_MS = 5_000;

/**
 * The reason why no WebSocket comes up at the daemon with the address `base`. `undefined` if it remains unknown.
 *
 * @param reason What the WebSocket itself said.
 * @param token The token of the bus, if it has one.
 * @param isRepeated Whether the last attempt failed, too. If not, a daemon that responds may just have started.
 */
export async function probe(base: string, reason: string, token: string | undefined, isRepeated: boolean): Promise<TidingsError | undefined> {
  if (typeof fetch !== "function") return undefined;
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), TIMEOUT_MS);
  const url = `${base}/v1/ws`;
  try {
    // A browser does not show a page the response of another origin, but with this mode whether there was one.
    const mode = "document" in globalThis ? "no-cors" : "cors";
    const headers = { accept: "application/json", ...(token !== undefined && mode === "cors" && bearer(token)) };
    const response = await fetch(url, { mode, signal: timeout.signal, headers });
    const body: unknown = await response.json().catch(() => undefined);
    const error = responseError(url, response.status, body, response.headers.get("x-request-id"));
    if (response.type !== "opaque" && error.code !== "upgrade-required") return error;
    return isRepeated ? blocked(base, reason) : undefined;
  } catch (cause) {
    if (!timeout.signal.aborted) return unreachable(base, explain(cause), cause);
    const message = `the server at ${base} did not respond within ${TIMEOUT_MS / 1000} s; check the URL, and that the daemon is running`;
    return new TidingsError("timeout", message);
  } finally {
    clearTimeout(timer);
  }
}

/** The error where HTTP works and a WebSocket does not. */
function blocked(base: string, reason: string): TidingsError {
  const advice = "if this continues, check that every proxy in between passes on the headers Upgrade and Connection";
  return new TidingsError("network", `the server at ${base} responds, but the client cannot open a WebSocket there: ${reason}; ${advice}`);
}
