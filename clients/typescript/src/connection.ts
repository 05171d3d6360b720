// One WebSocket at a time, for as long as the bus is open: dials, watches for silence, and dials again.
//
// It knows nothing of subscriptions: it says when a connection is open, and hands on the frames. Where there are several
// nodes, it goes on at the next one after a failure.

import { type Backoff, delayBefore } from "./backoff.js";
import { TidingsError } from "./errors.js";
import { type ClientFrame, FINAL_CLOSE_CODES, readFrame, type ServerFrame, SUBPROTOCOL } from "./frames.js";
import type { WebSocketConstructor, WebSocketLike } from "./websocket.js";

export type ConnectionState =
  /** The first attempt. */
  | { readonly status: "connecting" }
  | { readonly status: "open"; readonly session: string; readonly node: string }
  /** The node is about to stop; events still come until the connection moves to another. */
  | { readonly status: "draining"; readonly reconnectInMs: number }
  /** The connection was lost, or not made; the next attempt begins `delayMs` after this was said. */
  | { readonly status: "reconnecting"; readonly attempt: number; readonly delayMs: number; readonly reason: string }
  /** For good: by `close()`, or by the daemon, and then `error` says why. */
  | { readonly status: "closed"; readonly error?: TidingsError };

export interface ConnectionOptions {
  /** The nodes, of which any will do. At least one. */
  readonly urls: readonly string[];
  readonly webSocket: () => Promise<WebSocketConstructor>;
  readonly backoff: Backoff;
  readonly random: () => number;
  readonly onState: (state: ConnectionState) => void;
  readonly onFrame: (frame: ServerFrame) => void;
}

/** How long a daemon may take until it says `welcome`. */
const WELCOME_TIMEOUT_MS = 10_000;

type Timer = ReturnType<typeof setTimeout>;

export class Connection {
  readonly #options: ConnectionOptions;
  #state: ConnectionState = { status: "connecting" };
  #socket: WebSocketLike | undefined;
  /** Which of the nodes it is connected to, or will be. */
  #node = 0;
  /** When the connection became open, by `performance.now()`. */
  #openedAt: number | undefined;
  /** Failures in a row. */
  #failures = 0;
  /** When a draining node said to come again. */
  #reconnectAt: number | undefined;
  #lastHeard = 0;
  #watchdog: Timer | undefined;
  #redial: Timer | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    void this.#dial();
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get isOpen(): boolean {
    return this.#state.status === "open" || this.#state.status === "draining";
  }

  /** Sends a frame, if the connection is open; whoever wants it sent later says it again then. */
  send(frame: ClientFrame): void {
    if (this.isOpen) this.#socket?.send(JSON.stringify(frame));
  }

  /** Gives the connection up and makes another one to the same node, where everything begins anew. */
  restart(reason: string): void {
    if (!this.isOpen) return;
    this.#node -= 1;
    this.#giveUp(reason, 1000);
  }

  close(error?: TidingsError): void {
    if (this.#state.status === "closed") return;
    const socket = this.#release();
    this.#enter(error ? { status: "closed", error } : { status: "closed" });
    leave(socket, 1000);
  }

  async #dial(): Promise<void> {
    let socket: WebSocketLike;
    try {
      const WebSocket = await this.#options.webSocket();
      if (this.#state.status === "closed") return;
      const { urls } = this.#options;
      socket = new WebSocket(urls[this.#node % urls.length]!, SUBPROTOCOL);
    } catch (cause) {
      // There is no WebSocket here, or it does not take the URL: neither mends itself.
      const known = cause instanceof TidingsError;
      return this.close(known ? cause : new TidingsError("connection-refused", String(cause), { cause }));
    }
    this.#socket = socket;
    // What comes from a socket that was given up is not heard.
    const whileCurrent = <Event>(react: (event: Event) => void) => (event: Event) => {
      if (this.#socket === socket) react(event);
    };
    let trouble = "the connection broke";
    socket.addEventListener("message", whileCurrent<{ data: unknown }>(({ data }) => this.#hear(data)));
    socket.addEventListener("error", (event: { message?: string }) => (trouble = event.message || trouble));
    socket.addEventListener("close", whileCurrent<{ code: number; reason: string }>(({ code, reason }) => {
      const said = reason || FINAL_CLOSE_CODES.get(code);
      // 1005 and 1006 are no codes of the peer's: they say that there was none.
      const known = code !== 1005 && code !== 1006;
      this.#lost(known ? (said ? `${said} (${code})` : `closed with ${code}`) : trouble, code);
    }));
    this.#watch(WELCOME_TIMEOUT_MS, "the daemon did not say welcome");
  }

  #hear(data: unknown): void {
    this.#lastHeard = performance.now();
    const frame = readFrame(data);
    if (frame === undefined) return;
    if (frame.type === "welcome") {
      this.#openedAt = this.#lastHeard;
      this.#watch(2 * frame.heartbeatMs, "no heartbeat for two intervals");
      this.#enter({ status: "open", session: frame.session, node: frame.node });
    } else if (frame.type === "draining") {
      const { reconnectInMs } = frame;
      this.#reconnectAt = this.#lastHeard + reconnectInMs;
      clearTimeout(this.#redial);
      this.#redial = setTimeout(() => {
        // Now, even if the timer was early by a fraction.
        this.#reconnectAt = 0;
        this.#giveUp("the node is draining", 1000);
      }, reconnectInMs);
      this.#enter({ status: "draining", reconnectInMs });
    } else {
      this.#options.onFrame(frame);
    }
  }

  /** Gives the connection up where nothing is heard for `limitMs`. One timer, however many messages come. */
  #watch(limitMs: number, trouble: string): void {
    clearTimeout(this.#watchdog);
    this.#lastHeard = performance.now();
    const look = () => {
      const left = this.#lastHeard + limitMs - performance.now();
      if (left > 0) this.#watchdog = setTimeout(look, left);
      else this.#giveUp(trouble, 4009);
    };
    this.#watchdog = setTimeout(look, limitMs);
  }

  #giveUp(reason: string, code: number): void {
    const socket = this.#socket;
    // First, so that whatever comes of closing it, there will be another.
    this.#lost(reason);
    leave(socket, code);
  }

  /** Nothing is heard of the socket any more, and nothing is waited for. */
  #release(): WebSocketLike | undefined {
    const socket = this.#socket;
    this.#socket = undefined;
    clearTimeout(this.#watchdog);
    clearTimeout(this.#redial);
    return socket;
  }

  #lost(reason: string, code?: number): void {
    this.#release();
    if (code !== undefined && FINAL_CLOSE_CODES.has(code)) {
      return this.close(new TidingsError("connection-refused", reason, { status: code }));
    }
    const now = performance.now();
    // A daemon that says welcome and then hangs up is one that is in trouble: only a connection that lasted is a success.
    const { backoff, random } = this.#options;
    if (this.#openedAt !== undefined && now - this.#openedAt >= backoff.maxMs) this.#failures = 0;
    const drained = this.#reconnectAt;
    const delayMs = drained === undefined ? delayBefore(this.#failures, backoff, random) : Math.max(0, drained - now);
    this.#openedAt = undefined;
    this.#reconnectAt = undefined;
    this.#failures += 1;
    this.#node += 1;
    this.#redial = setTimeout(() => void this.#dial(), delayMs);
    this.#enter({ status: "reconnecting", attempt: this.#failures, delayMs, reason });
  }

  #enter(state: ConnectionState): void {
    this.#state = state;
    this.#options.onState(state);
  }
}

/** Closes a socket, which may take its time. Without a reason: one of more than 123 bytes is an error. */
function leave(socket: WebSocketLike | undefined, code: number): void {
  try {
    socket?.close(code);
  } catch {
    // It has been turned away from already, and there is nobody to whom this would mean anything.
  }
}
