// What a daemon answers that does not do what it was asked for, as an error.

import { type Mistake, TidingsError } from "./errors.js";

/**
 * The error for a response of `url` that is not a success: what the daemon says in a problem document (RFC 9457). Any other body
 * is not from a daemon: `unexpected-response`.
 */
export function responseError(url: string, status: number, body: unknown, requestId: string | null): TidingsError {
  const problem = (typeof body === "object" && body !== null ? body : {}) as Partial<
    Record<"code" | "title" | "detail", string> & { errors: Mistake[] }
  >;
  const { code, title, detail, errors } = problem;
  const details = { status, errors, requestId: requestId ?? undefined };
  if (code !== undefined) return new TidingsError(code, detail ?? title ?? `${url} answered with status ${status}`, details);
  const advice =
    status === 502 || status === 504
      ? "the proxy there cannot reach the daemon: check that the daemon is running"
      : "this is not the response of a tidings daemon: check the address and the path in the URL";
  return new TidingsError("unexpected-response", `${url} answered with status ${status}; ${advice}`, details);
}
