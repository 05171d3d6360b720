// How a connection fails, and what the client can say about it at once.

import { type ErrorCode, TidingsError } from "./errors.js";
import { explain, unreachable } from "./explain.js";
import { CLOSE_CODES } from "./generated/protocol.js";

/** How a connection was lost, or an attempt failed. */
export interface Failure {
  /** The address of the node. */
  readonly base: string;
  /** The reason, for people. */
  readonly reason: string;
  /** The close code, if the daemon sent one. */
  readonly code?: number;
  /** The error of the WebSocket, if it has one. */
  readonly cause?: unknown;
  /** The error, if it is known. */
  readonly error?: TidingsError;
}

/** What to do where the daemon wants a token and the bus has none. */
export const NO_TOKEN = "pass a token to connect, as the option token";

/** The error for an attempt that failed, if the WebSocket has told enough. */
export function knownError({ base, reason, code, cause, error }: Failure): TidingsError | undefined {
  if (error !== undefined) return error;
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
