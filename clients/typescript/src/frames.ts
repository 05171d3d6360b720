// Reads the frames of the daemon, and explains the close codes after which the client does not reconnect.

import type { FinalCloseCode, ServerFrame } from "./generated/protocol.js";

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

/** For each final close code: why the daemon would refuse the client again. */
const FINAL_CLOSE_REASONS: Readonly<Record<FinalCloseCode, string>> = {
  1009: "a frame was larger than the daemon accepts",
  4001: "not authenticated",
  4003: "not allowed",
  4004: "the token was revoked",
  4005: "the token has expired",
};

/** Why the daemon would refuse the client again after this close code. Returns `undefined` if the code is not final. */
export function finalCloseReason(code: number): string | undefined {
  return (FINAL_CLOSE_REASONS as Readonly<Record<number, string>>)[code];
}
