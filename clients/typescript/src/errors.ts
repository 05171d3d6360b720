// The errors of the client: one class, `TidingsError`, whose `code` says what went wrong.

import type { DaemonErrorCode } from "./generated/protocol.js";

/** The codes of the daemon, and those of the client itself. */
export type ErrorCode =
  // the daemon refused a request or a frame, or failed; see `ERROR_CODES`. With `unauthenticated` the token is missing, wrong,
  // expired or revoked; with `forbidden` it does not allow this
  | DaemonErrorCode
  // the daemon could not be reached
  | "network"
  // the daemon did not respond in time
  | "timeout"
  // the response is not that of a tidings daemon
  | "unexpected-response"
  // the function of the option `token` failed; `cause` is the reason, and the client calls it again
  | "no-token"
  // the daemon closed the connection with a final close code, which is in `status`, or the runtime refuses to connect
  | "connection-refused"
  // the bus was closed by `close()`
  | "closed"
  // the loop over `events()` is slower than the events arrive, and its buffer is full
  | "buffer-overflow"
  // a handler threw, or its promise was rejected; `cause` is the reason
  | "handler-failed"
  // the browser does not store what the option `persist` should keep; `cause` is the reason, and the bus goes on without
  | "not-persisted"
  // this runtime has no WebSocket, and the package `ws` is not installed
  | "no-websocket"
  // a later version of the daemon may have more codes
  | (string & {});

/** One mistake in a published event. */
export interface Mistake {
  /** The place of the mistake: a JSON Pointer into the request's body. */
  readonly pointer: string;
  /** What is wrong there, for people. */
  readonly message: string;
}

/** The optional fields of a `TidingsError`. */
export interface ErrorDetails {
  status?: number | undefined;
  errors?: readonly Mistake[] | undefined;
  requestId?: string | undefined;
  ids?: readonly string[] | undefined;
  cause?: unknown;
}

/** Every error that the client throws, or reports to a listener. */
export class TidingsError extends Error {
  override readonly name: string = "TidingsError";
  /** What went wrong, for programs. Stable. */
  readonly code: ErrorCode;
  /** The HTTP status or the close code of the WebSocket, if there was one. */
  readonly status: number | undefined;
  /** Every mistake in an event that the daemon refused. */
  readonly errors: readonly Mistake[];
  /** The `x-request-id` of the response, which the daemon's log also has. */
  readonly requestId: string | undefined;
  /**
   * The ids of the events that failed to publish, in the order in which they were given. It may be unknown whether they
   * were published. Publishing them again under these ids is safe: the daemon takes an id once.
   */
  readonly ids: readonly string[];

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.status = details.status;
    this.errors = details.errors ?? [];
    this.requestId = details.requestId;
    this.ids = details.ids ?? [];
  }
}

/** The error of a call on a bus that was closed. */
export function closedError(): TidingsError {
  return new TidingsError("closed", "the bus is closed: call connect again for a new one");
}
