// How a connection fails.

import type { TidingsError } from "./errors.js";

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
  /** Whether nothing has failed: the client wants another connection. */
  readonly isWanted?: boolean;
}

/** What to do where the daemon wants a token and the bus has none. */
export const NO_TOKEN = "pass a token to connect, as the option token";
