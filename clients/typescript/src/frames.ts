// The frames of the WebSocket, as the daemon and the client say them.

import type { CloudEvent } from "./generated/events.js";
import type { AnyWhere } from "./filter.js";

export const SUBPROTOCOL = "tidings.v1";

export type ClientFrame =
  | { type: "subscribe"; sub: string; channel: string; where?: AnyWhere; since?: string }
  | { type: "unsubscribe"; sub: string };

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

/** Reads a frame. What is no frame at all is `undefined`; one that is not known here is for the reader to pass over. */
export function readFrame(text: unknown): ServerFrame | undefined {
  if (typeof text !== "string") return undefined;
  try {
    const frame: unknown = JSON.parse(text);
    return typeof frame === "object" && frame !== null && "type" in frame ? (frame as ServerFrame) : undefined;
  } catch {
    return undefined;
  }
}

/** Why a WebSocket was closed for good: what these say does not change by trying again. */
export const FINAL_CLOSE_CODES: ReadonlyMap<number, string> = new Map([
  [1009, "a frame was larger than the daemon takes"],
  [4001, "not authenticated"],
  [4003, "not allowed"],
  [4004, "the token was revoked"],
  [4005, "the token has expired"],
]);
