// What can go wrong, as one class whose `code` says what it was.

/** The codes of the daemon, and those that the client gives itself. */
export type ErrorCode =
  // of HTTP problems and of error frames
  | "malformed-json" | "unauthenticated" | "forbidden" | "not-found" | "method-not-allowed" | "payload-too-large"
  | "unsupported-media-type" | "invalid-event" | "unknown-type" | "unknown-channel" | "unknown-field"
  | "invalid-filter" | "invalid-position" | "rate-limited" | "internal" | "broker-unavailable" | "draining"
  | "overloaded" | "invalid-frame" | "unknown-frame" | "duplicate-subscription" | "unknown-subscription"
  | "too-many-subscriptions"
  // the daemon could not be reached
  | "network"
  // the daemon did not answer in time
  | "timeout"
  // what answered does not speak as a tidings daemon does
  | "unexpected-response"
  // the daemon closed the connection for good; `status` is the close code
  | "connection-refused"
  // the bus was closed by `close()`
  | "closed"
  // a consumer was slower than its events: see `events()`
  | "buffer-overflow"
  // a handler threw; `cause` is what
  | "handler-failed"
  // this runtime has no WebSocket, and the package `ws` is not installed
  | "no-websocket"
  // a later daemon may know more
  | (string & {});

/** One thing that is wrong with what was sent. */
export interface Mistake {
  /** Where: a JSON Pointer into the request's body. */
  readonly pointer: string;
  readonly message: string;
}

export interface ErrorDetails {
  status?: number | undefined;
  errors?: readonly Mistake[] | undefined;
  requestId?: string | undefined;
  ids?: readonly string[] | undefined;
  cause?: unknown;
}

export class TidingsError extends Error {
  override readonly name: string = "TidingsError";
  /** What went wrong: stable, for programs. */
  readonly code: ErrorCode;
  /** The HTTP status or the WebSocket's close code, where there was one. */
  readonly status: number | undefined;
  /** All that is wrong with an event that was refused. */
  readonly errors: readonly Mistake[];
  /** The `x-request-id` of the answer, by which the daemon's log knows the request. */
  readonly requestId: string | undefined;
  /**
   * The ids of the events that were not published, or perhaps were, in their order. Published again under these, an event
   * is taken once.
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
