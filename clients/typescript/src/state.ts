// The state of the connection of a bus, and its transports, as the application sees them.

import type { TidingsError } from "./errors.js";

/**
 * How events reach a bus. `"sse"` is an event stream that is read with `fetch`, and `"long-poll"` is a request that waits. Both
 * replace a WebSocket where none comes up.
 */
export type Transport = "websocket" | "sse" | "long-poll";

/** For each channel, its position. */
export type Positions = ReadonlyMap<string, string>;

/** The state of the connection. */
export type ConnectionState =
  /** Nothing needs a connection: there was no subscription yet, or the last one has ended a while ago. */
  | { readonly status: "idle" }
  /** The first attempt is under way. */
  | { readonly status: "connecting" }
  /** The daemon has sent `welcome`. */
  | { readonly status: "open"; readonly session: string; readonly node: string }
  /** The node is about to stop. Events still arrive until the connection moves to another node. */
  | { readonly status: "draining"; readonly reconnectInMs: number }
  /**
   * The connection was lost or could not be made. The next attempt begins after `delayMs`, or as soon as the page becomes visible
   * or the network is back. If none comes up, `error` says what is wrong at which URL, and what to do, as soon as that is known.
   */
  | {
      readonly status: "reconnecting";
      readonly attempt: number;
      readonly delayMs: number;
      readonly reason: string;
      readonly error?: TidingsError | undefined;
    }
  /** Closed for good: by `close()`, or by the daemon, which `error` explains. */
  | { readonly status: "closed"; readonly error?: TidingsError | undefined };
