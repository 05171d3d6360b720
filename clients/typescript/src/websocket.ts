// The part of the WebSocket API that the client uses, and how to find an implementation of it.

import { TidingsError } from "./errors.js";

/** What the client needs of a WebSocket. Those of browsers, Bun, Node and the package `ws` have it. */
export interface WebSocketLike {
  send(text: string): void;
  close(code?: number): void;
  // `any`, since each implementation has its own event types.
  addEventListener(type: "message" | "close" | "error", listener: (event: any) => void): void;
}

/** The constructor of a WebSocket, which connects at once. */
export type WebSocketConstructor = new (url: string, protocols?: string) => WebSocketLike;

/**
 * The WebSocket of the runtime or, if it has none (Node 20), that of the package `ws`.
 *
 * @throws {TidingsError} with the code `no-websocket` if there is neither.
 */
export async function findWebSocket(): Promise<WebSocketConstructor> {
  if (typeof WebSocket === "function") return WebSocket;
  // Not a literal in `import`, since a bundler would then look for the package, which browsers do not need.
  const name = "ws";
  try {
    const module = (await import(/* webpackIgnore: true */ /* @vite-ignore */ name)) as { default: WebSocketConstructor };
    return module.default;
  } catch (cause) {
    const message = "this runtime has no WebSocket: install the package ws, or pass one as the option WebSocket";
    throw new TidingsError("no-websocket", message, { cause });
  }
}
