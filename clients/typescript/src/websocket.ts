// The part of a WebSocket that the client uses, and where to get one.

import { TidingsError } from "./errors.js";

/** What the client needs of a WebSocket; those of browsers, Bun, Node and of the package `ws` have it. */
export interface WebSocketLike {
  send(text: string): void;
  close(code?: number): void;
  // `any`: each implementation has event types of its own.
  addEventListener(type: "message" | "close" | "error", listener: (event: any) => void): void;
}

export type WebSocketConstructor = new (url: string, protocols?: string) => WebSocketLike;

/** The runtime's own WebSocket or, where it has none (Node 20), that of the package `ws`. */
export async function findWebSocket(): Promise<WebSocketConstructor> {
  if (typeof WebSocket === "function") return WebSocket;
  // Not a literal: a bundler for browsers must not look for a package that browsers do not need.
  const name = "ws";
  try {
    const module = (await import(/* webpackIgnore: true */ /* @vite-ignore */ name)) as { default: WebSocketConstructor };
    return module.default;
  } catch (cause) {
    const message = "this runtime has no WebSocket: install the package ws, or pass one as the option WebSocket";
    throw new TidingsError("no-websocket", message, { cause });
  }
}
