// The fallback of a bus where no WebSocket comes up. Loaded when it is first needed.

import type { JsonCodec } from "../json.js";
import type { FetchLike } from "../publish.js";
import type { Transport } from "../state.js";
import type { Timers } from "../timers.js";
import type { WebSocketConstructor } from "../websocket.js";
import type { Path } from "./feed.js";
import { Requests } from "./requests.js";
import { HttpSocket } from "./socket.js";

export interface FallbackOptions {
  readonly allowed: readonly Transport[];
  readonly fetch: FetchLike;
  readonly json: JsonCodec;
  readonly timers: Timers;
}

/** The constructor of the sockets of a bus. They share what they learn about the way to the daemon. */
export function fallback({ allowed, fetch, json, timers }: FallbackOptions): WebSocketConstructor {
  const path: Path = { allowsStreams: allowed.includes("sse"), allowsPolls: allowed.includes("long-poll"), heldBackUntil: 0 };
  return class extends HttpSocket {
    constructor(url: string) {
      const base = url.replace(/^ws/, "http").replace(/\/v1\/ws$/, "");
      super(base, new Requests(base, fetch, json, timers), path);
    }
  };
}
