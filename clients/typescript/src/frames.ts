// Reads the frames of the daemon, and explains the close codes after which the client does not reconnect.

import type { ErrorCode } from "./errors.js";
import type { FinalCloseCode, ServerFrame } from "./generated/protocol.js";
import type { JsonCodec } from "./json.js";

/** Parses a frame. Returns `undefined` if `text` is not a frame. The type of the frame may be unknown: ignore it then. */
export function readFrame(text: unknown, json: JsonCodec): ServerFrame | undefined {
  if (typeof text !== "string") return undefined;
  try {
    const frame = json.parse(text);
    return typeof frame === "object" && frame !== null && "type" in frame ? (frame as ServerFrame) : undefined;
  } catch {
    return undefined;
  }
}

/** A final close code in words. */
export interface FinalClose {
  /** The code of the error. */
  readonly code: ErrorCode;
  /** Why the daemon would refuse the client again. */
  readonly reason: string;
  /** What to do about it. */
  readonly advice: string;
}

const FINAL_CLOSES: Readonly<Record<FinalCloseCode, FinalClose>> = {
  1009: {
    code: "connection-refused",
    reason: "a frame was larger than the daemon accepts",
    advice: "use fewer or shorter conditions, or raise max_frame_bytes of the daemon",
  },
  4001: {
    code: "unauthenticated",
    reason: "not authenticated",
    advice: "the daemon does not accept the token: its log says why",
  },
  4003: {
    code: "forbidden",
    reason: "not allowed",
    advice: "a token of another user, issuer or namespace needs a bus of its own: call connect again",
  },
  4004: { code: "unauthenticated", reason: "the token was revoked", advice: "call connect again with another token" },
  4005: {
    code: "unauthenticated",
    reason: "the token has expired",
    advice: "pass a function as the option token, which gets a new one, or call connect again with a new token",
  },
};

/** What this close code means, if the daemon would refuse the client again. Returns `undefined` if the code is not final. */
export function finalClose(code: number): FinalClose | undefined {
  return (FINAL_CLOSES as Readonly<Record<number, FinalClose>>)[code];
}
