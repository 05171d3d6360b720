// The frames of the WebSocket protocol, in both directions, and the close codes that are final.

import type { CloudEvent } from "./generated/events.js";
import type { AnyWhere } from "./filter.js";

/** The WebSocket subprotocol. */
export const SUBPROTOCOL = "tidings.v1";

/** A frame that the client sends. */
export type ClientFrame =
  | { type: "subscribe"; sub: string; channel: string; where?: AnyWhere; since?: string }
  | { type: "unsubscribe"; sub: string };

/** A frame that the daemon sends. */
export type ServerFrame =
  | { type: "welcome"; protocol: number; session: string; node: string; heartbeatMs: number }
  | { type: "subscribed"; sub: string; channel: string; position: string; recovered?: boolean }
  | { type: "event"; position: string; event: CloudEvent }
  | { type: "gap"; channel: string; from: string; position: string }
  | { type: "unsubscribed"; sub: string }
  | { type: "heartbeat"; positions: Record<string, string> }
  | { type: "pong" }
  | { type: "error"; code: string; message: string; sub?: string }
  | { type: "draining"; reconnectInMs: number };

/** Parses a frame. Returns `undefined` if `text` is not a frame. The type of the frame may be unknown: ignore it then. */
export function readFrame(text: unknown): ServerFrame | undefined {
  if (typeof text !== "string") return undefined;
  try {
    const frame: unknown = JSON.parse(text);
    return typeof frame === "object" && frame !== null && "type" in frame ? (frame as ServerFrame) : undefined;
  } catch {
    return undefined;
  }
}

/** The close codes after which the client does not reconnect, since the daemon would refuse it again. */
export const FINAL_CLOSE_CODES: ReadonlyMap<number, string> = new Map([
  [1009, "a frame was larger than the daemon takes"],
  [4001, "not authenticated"],
  [4003, "not allowed"],
  [4004, "the token was revoked"],
  [4005, "the token has expired"],
]);
