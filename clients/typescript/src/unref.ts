// Keeps the sockets of a bus from keeping a process of Node alive. Loaded only by a bus that asks for it.
//
// The package `ws` shows its socket. The WebSocket and the `fetch` of Node do not, but undici, which they are made of, publishes each
// request with its socket on a diagnostics channel:
// https://github.com/nodejs/undici/blob/main/docs/docs/api/DiagnosticsChannel.md

import type { WebSocketLike } from "./websocket.js";

interface Socket {
  unref?: () => void;
}

/** The request by which the package `ws` opens a WebSocket. */
interface Handshake {
  readonly socket?: Socket | null;
  once?(event: "socket", listener: () => void): void;
}

/** What undici publishes before it sends a request. */
interface Sent {
  readonly request: { readonly origin?: unknown; readonly path?: string; readonly method?: string };
  readonly socket: Socket;
}

interface Channels {
  subscribe(name: string, listener: (message: unknown) => void): void;
  unsubscribe(name: string, listener: (message: unknown) => void): void;
}

const CHANNEL = "undici:client:sendHeaders";

/** What keeps the sockets of one bus from keeping the process alive. */
export interface Unref {
  /** To be called with each socket of the bus. */
  readonly socket: (socket: WebSocketLike) => void;
  /** The bus is closed. */
  readonly stop: () => void;
}

/** `urls` are the addresses of the nodes of the bus, and `current` is its socket, if it has one. */
export function unrefSockets(urls: readonly string[], current: WebSocketLike | undefined): Unref {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } };
  const channels = process?.getBuiltinModule?.("node:diagnostics_channel") as Channels | undefined;
  const paths = urls.flatMap((url) => ["ws", "stream", "events"].map((name) => `${url}/v1/${name}`));
  const sent = (message: unknown) => {
    const { request, socket } = message as Sent;
    const address = `${String(request.origin)}${request.path}`.replace(/\?.*/, "");
    if (request.method === "GET" && paths.includes(address)) socket.unref?.();
  };
  channels?.subscribe(CHANNEL, sent);
  const socket = (socket: WebSocketLike) => {
    const ofWs = socket as { readonly _socket?: Socket; readonly _req?: Handshake };
    const unref = () => (ofWs._socket ?? ofWs._req?.socket)?.unref?.();
    socket.addEventListener("open", unref);
    // Before there is an answer, the request has the socket.
    ofWs._req?.once?.("socket", unref);
    unref();
  };
  if (current !== undefined) socket(current);
  return {
    socket,
    stop: () => channels?.unsubscribe(CHANNEL, sent),
  };
}
