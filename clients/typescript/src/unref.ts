// Keeps the sockets of a bus from keeping a process of Node alive. Loaded only by a bus that asks for it.
//
// The package `ws` shows its socket. The WebSocket and the `fetch` of Node do not, but undici, which they are made of, publishes each
// request with its socket on a diagnostics channel:
// https://github.com/nodejs/undici/blob/main/docs/docs/api/DiagnosticsChannel.md

import type { WebSocketLike } from "./websocket.js";

interface Socket {
  unref?: () => void;
}

/** What undici publishes before it sends a request. */
interface Sent {
  readonly request: { readonly origin?: unknown; readonly path?: string; readonly method?: string };
  readonly socket: Socket;
}

interface Channels {
  subscribe(name: string, listener: (message: unknown) => void): void;
}

/** Returns what is to be called with each socket of the bus. */
export function unrefSockets(urls: readonly string[]): (socket: WebSocketLike) => void {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } };
  const channels = process?.getBuiltinModule?.("node:diagnostics_channel") as Channels | undefined;
  channels?.subscribe("undici:client:sendHeaders", (message) => {
    const { request, socket } = message as Sent;
    const isReceiving = request.method === "GET" && /\/v1\/(ws|stream|events)(\?|$)/.test(request.path ?? "");
    if (isReceiving && urls.some((url) => `${String(request.origin)}${request.path}`.startsWith(url))) socket.unref?.();
  });
  return (socket) => {
    const unref = () => (socket as { _socket?: Socket })._socket?.unref?.();
    socket.addEventListener("open", unref);
    unref();
  };
}
