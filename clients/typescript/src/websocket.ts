// The part of the WebSocket API that the client uses, and how to find an implementation of it.

import { TidingsError } from "./errors.js";

/** What the client needs of a WebSocket. Those of browsers, Bun, Node and the package `ws` have it. */
export interface WebSocketLike {
  /** Sends a text frame. */
  send(text: string): void;
  /** Closes the connection with this code. */
  close(code?: number): void;
  /** Adds a listener of an event of the connection. */
  // `any`, since each implementation has its own event types.
  addEventListener(type: "open" | "message" | "close" | "error", listener: (event: any) => void): void;
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
  try {
    return await load("ws");
  } catch (cause) {
    const message =
      "this runtime has no WebSocket: run `npm install ws`, use Node 22 or newer, or pass one to connect as the option WebSocket";
    throw new TidingsError("no-websocket", message, { cause });
  }
}

/** Closes a socket in the background. Sends no reason text, since one of more than 123 bytes would throw. */
export function closeSocket(socket: WebSocketLike | undefined, code: number): void {
  try {
    socket?.close(code);
  } catch {
    // The socket is already detached, so the failure has no effect.
  }
}

/** Set by the build: whether this is the CommonJS build. */
declare const IS_COMMONJS: boolean | undefined;
declare const module: { require(name: string): unknown };

/** Loads `ws`. Its name is an argument: bundlers would look for a literal, and browsers do not need the package. */
async function load(name: string): Promise<WebSocketConstructor> {
  if (typeof IS_COMMONJS === "boolean" && IS_COMMONJS) {
    // Not `import`, which Jest refuses in CommonJS. Not a call of `module.require`, which bundlers would follow.
    const { require } = module;
    return (require.call(module, name) as { WebSocket: WebSocketConstructor }).WebSocket;
  }
  const loaded = (await import(/* webpackIgnore: true */ /* @vite-ignore */ name)) as { default: WebSocketConstructor };
  return loaded.default;
}
