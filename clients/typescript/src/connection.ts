// The WebSocket connection of a bus: connects when it is first needed, detects silence, and reconnects for as long as the bus
// is open.
//
// There is one WebSocket at a time. This module does not know subscriptions: it reports when a connection is open, and passes
// frames on. After a failure it connects to the next node.
//
// Browsers let nobody set a header of a WebSocket, so the token is the first frame, and nothing else is sent before `welcome`. A
// token from a function is renewed on the live connection before it expires. A refusal ends the bus: the daemon would refuse the
// same token again. Only a token that is held for a while, and so may have expired, is replaced by a new one, once.

import { type Backoff, delayBefore } from "./backoff.js";
import { type ErrorCode, TidingsError } from "./errors.js";
import { explain, unreachable } from "./explain.js";
import { finalClose, readFrame } from "./frames.js";
import { type ClientFrame, CLOSE_CODES, type ServerFrame, SUBPROTOCOL } from "./generated/protocol.js";
import { probe } from "./probe.js";
import type { Credential, HeldToken } from "./token.js";
import type { WebSocketConstructor, WebSocketLike } from "./websocket.js";

/** The state of the connection. */
export type ConnectionState =
  /** No subscription has needed a connection yet. */
  | { readonly status: "idle" }
  /** The first attempt is under way. */
  | { readonly status: "connecting" }
  /** The daemon has sent `welcome`. */
  | { readonly status: "open"; readonly session: string; readonly node: string }
  /** The node is about to stop. Events still arrive until the connection moves to another node. */
  | { readonly status: "draining"; readonly reconnectInMs: number }
  /**
   * The connection was lost or could not be made. The next attempt begins after `delayMs`. If none comes up, `error` says what
   * is wrong at which URL, and what to do, as soon as that is known.
   */
  | {
      readonly status: "reconnecting";
      readonly attempt: number;
      readonly delayMs: number;
      readonly reason: string;
      readonly error?: TidingsError | undefined;
    }
  /** Closed for good: by `close()`, or by the daemon, which `error` explains. */
  | { readonly status: "closed"; readonly error?: TidingsError | undefined };

export interface ConnectionOptions {
  /** The address of each node. At least one. */
  readonly urls: readonly string[];
  readonly credential: Credential | undefined;
  readonly webSocket: () => Promise<WebSocketConstructor>;
  readonly backoff: Backoff;
  readonly random: () => number;
  readonly onState: (state: ConnectionState) => void;
  readonly onFrame: (frame: ServerFrame) => void;
  /** Called when no connection comes up: once for each reason, until one is open. */
  readonly onFailure: (error: TidingsError) => void;
}

/** How long a daemon may take to send `welcome`, in milliseconds. */
const WELCOME_TIMEOUT_MS = 10_000;
/** A token is renewed at a random point between these parts of its remaining time, so that clients do not renew together. */
const RENEWAL = { earliest: 0.8, latest: 0.9 };
/** The shortest time between two renewals, in milliseconds, however soon the token expires. */
const MIN_RENEWAL_MS = 1_000;
/** The longest delay of a timer in milliseconds: a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

type Timer = ReturnType<typeof setTimeout>;

/** A connection to one of the nodes, which is replaced when it is lost. */
export class Connection {
  readonly #options: ConnectionOptions;
  #state: ConnectionState = { status: "idle" };
  #socket: WebSocketLike | undefined;
  /** The number of the current node, modulo the count of nodes. */
  #node = 0;
  /** The address of the node of the current attempt or connection. */
  #base = "";
  /** When the connection became open, by `performance.now()`, as all times here. */
  #openedAt: number | undefined;
  /** The number of failures in a row. */
  #failures = 0;
  /** The number of attempts since a connection was last open. */
  #attempts = 0;
  /** Why no connection comes up, as far as that is known. */
  #error: TidingsError | undefined;
  /** The messages of the failures that were reported since a connection was last open. */
  readonly #reported = new Set<string>();
  /** When to reconnect, as a draining node asked. */
  #reconnectAt: number | undefined;
  #lastReceivedAt = 0;
  #idleTimer: Timer | undefined;
  #reconnectTimer: Timer | undefined;
  /** The token of this connection: the first one that was sent, or the last one that the daemon has accepted. */
  #token: HeldToken | undefined;
  /** The token of a renewal that the daemon has not answered. */
  #pendingToken: string | undefined;
  /** The token that the daemon refused on the last connection. */
  #refusedToken: string | undefined;
  /** When the token of this connection expires. `undefined` if it does not. */
  #expiresAt: number | undefined;
  /** The number of renewals in a row that failed. */
  #failedRenewals = 0;
  #renewalTimer: Timer | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** Begins to connect, unless that has begun before. */
  open(): void {
    if (this.#state.status !== "idle") return;
    this.#enter({ status: "connecting" });
    void this.#connect();
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get #isClosed(): boolean {
    return this.#state.status === "closed";
  }

  /** Whether frames can be sent. */
  get isOpen(): boolean {
    return this.#state.status === "open" || this.#state.status === "draining";
  }

  /** How long ago the last frame of this connection arrived, in milliseconds. */
  get silentMs(): number {
    return performance.now() - this.#lastReceivedAt;
  }

  /** Sends a frame if the connection is open, and drops it otherwise. */
  send(frame: ClientFrame): void {
    if (this.isOpen) this.#socket?.send(JSON.stringify(frame));
  }

  /** Closes the connection, and opens a new one to the same node. */
  restart(reason: string): void {
    if (!this.isOpen) return;
    this.#node -= 1;
    this.#abandon({ base: this.#base, reason }, CLOSE_CODES.normal);
  }

  /** Closes the connection for good. */
  close(error?: TidingsError): void {
    if (this.#state.status === "closed") return;
    const socket = this.#release();
    this.#enter(error ? { status: "closed", error } : { status: "closed" });
    closeSocket(socket, CLOSE_CODES.normal);
  }

  async #connect(): Promise<void> {
    let socket: WebSocketLike;
    const { urls, credential } = this.#options;
    const base = urls[this.#node % urls.length]!;
    this.#base = base;
    let token: HeldToken | undefined;
    try {
      // Before there is a socket: the daemon waits 5 s for the token.
      token = await credential?.get();
      if (this.#isClosed) return;
    } catch (cause) {
      if (!this.#isClosed) this.#withoutToken(base, cause);
      return;
    }
    if (token !== undefined && token.text === this.#refusedToken) {
      const message = `the function of the option token returned the token that the daemon at ${base} has refused: the bus is closed`;
      return this.close(new TidingsError("unauthenticated", message));
    }
    this.#token = token;
    this.#pendingToken = undefined;
    this.#expiresAt = undefined;
    try {
      const WebSocket = await this.#options.webSocket();
      if (this.#isClosed) return;
      socket = new WebSocket(`${base.replace(/^http/, "ws")}/v1/ws`, SUBPROTOCOL);
    } catch (cause) {
      // The runtime has no WebSocket, or it does not accept the URL. A retry would not help.
      const isOurs = cause instanceof TidingsError;
      const message = `this runtime refuses to connect to ${base}: ${String(cause)}`;
      return this.close(isOurs ? cause : new TidingsError("connection-refused", message, { cause }));
    }
    this.#socket = socket;
    // Ignores the events of a socket that was abandoned.
    const whileCurrent = <Event>(react: (event: Event) => void) => (event: Event) => {
      if (this.#socket === socket) react(event);
    };
    let failure: Failure = { base, reason: "the connection was lost" };
    if (token !== undefined) {
      const { text } = token;
      socket.addEventListener("open", whileCurrent(() => socket.send(authFrame(text))));
    }
    socket.addEventListener("message", whileCurrent<{ data: unknown }>(({ data }) => this.#receive(data)));
    socket.addEventListener("error", ({ message, error }: { message?: string; error?: unknown }) => {
      failure = { base, reason: message || explain(error ?? failure.reason).cause, cause: error };
      // A close event should follow. The WebSocket of Node 22 sends none if it cannot connect.
      if (this.#openedAt === undefined) setTimeout(whileCurrent(() => this.#abandon(failure, CLOSE_CODES.normal)), 0);
    });
    socket.addEventListener("close", whileCurrent<{ code: number; reason: string }>(({ code, reason }) => {
      const explanation = reason || finalClose(code)?.reason;
      // The runtime reports 1005 and 1006 when the daemon sent no close code (RFC 6455, section 7.4.1).
      const hasCode = code !== 1005 && code !== 1006;
      const closed = explanation ? `${explanation} (${code})` : `closed with ${code}`;
      this.#lost(hasCode ? { base, reason: closed, code } : failure);
    }));
    this.#watch(WELCOME_TIMEOUT_MS, `the daemon did not send welcome within ${WELCOME_TIMEOUT_MS / 1000} s`);
  }

  #receive(data: unknown): void {
    this.#lastReceivedAt = performance.now();
    const frame = readFrame(data);
    if (frame === undefined) return;
    if (frame.type === "welcome") {
      this.#openedAt = this.#lastReceivedAt;
      this.#attempts = 0;
      this.#error = undefined;
      this.#reported.clear();
      this.#refusedToken = undefined;
      this.#watch(2 * frame.heartbeatMs, "no heartbeat for two intervals");
      this.#authenticated(frame.expiresInMs);
      this.#enter({ status: "open", session: frame.session, node: frame.node });
    } else if (frame.type === "draining") {
      const { reconnectInMs } = frame;
      this.#reconnectAt = this.#lastReceivedAt + reconnectInMs;
      clearTimeout(this.#reconnectTimer);
      this.#reconnectTimer = setTimeout(() => {
        // Reconnect without delay, even if the timer fired a fraction early.
        this.#reconnectAt = 0;
        this.#abandon({ base: this.#base, reason: "the node is draining" }, CLOSE_CODES.normal);
      }, reconnectInMs);
      this.#enter({ status: "draining", reconnectInMs });
    } else if (frame.type === "authenticated") {
      this.#authenticated(frame.expiresInMs);
    } else {
      // The former token goes on: the daemon has changed nothing.
      if (frame.type === "error" && frame.code === "unauthenticated" && frame.sub === undefined && frame.id === undefined) this.#renewalRefused();
      this.#options.onFrame(frame);
    }
  }

  /** The daemon has accepted the token, which is valid for `expiresInMs`. */
  #authenticated(expiresInMs: number | undefined): void {
    const { credential } = this.#options;
    if (credential === undefined || this.#token === undefined) return;
    this.#token = { text: this.#pendingToken ?? this.#token.text, isNew: false };
    this.#pendingToken = undefined;
    credential.expiresIn(this.#token.text, expiresInMs);
    this.#failedRenewals = 0;
    this.#expiresAt = expiresInMs === undefined ? undefined : performance.now() + expiresInMs;
    this.#scheduleRenewal();
  }

  /** Schedules the renewal of the token, before it expires. */
  #scheduleRenewal(): void {
    clearTimeout(this.#renewalTimer);
    const { credential, random } = this.#options;
    if (this.#expiresAt === undefined || credential?.isRenewable !== true) return;
    const part = RENEWAL.earliest + (RENEWAL.latest - RENEWAL.earliest) * random();
    this.#renewAfter(part * (this.#expiresAt - performance.now()), credential);
  }

  /** Renews the token after this delay, and never at once. */
  #renewAfter(delayMs: number, credential: Credential): void {
    const at = performance.now() + Math.max(MIN_RENEWAL_MS, delayMs);
    const wait = () => {
      const left = at - performance.now();
      if (left > 0) this.#renewalTimer = setTimeout(wait, Math.min(left, MAX_TIMER_MS));
      else void this.#renew(credential);
    };
    wait();
  }

  /** Gets a new token, and sends it on the live connection. */
  async #renew(credential: Credential): Promise<void> {
    const socket = this.#socket;
    let text: string;
    try {
      text = await credential.renew();
    } catch (cause) {
      if (this.#socket !== socket || !this.isOpen) return;
      if (isFinal(cause)) return this.close(cause);
      this.#report(cause as TidingsError);
      const { backoff, random } = this.#options;
      return this.#renewAfter(delayBefore(this.#failedRenewals++, backoff, random), credential);
    }
    if (this.#socket !== socket || !this.isOpen) return;
    // The function has no newer one yet.
    if (text === this.#token?.text) return this.#scheduleRenewal();
    this.#pendingToken = text;
    socket?.send(authFrame(text));
  }

  /** The daemon refused the token of a renewal. Another one is tried later, as long as the former one is valid. */
  #renewalRefused(): void {
    if (this.#pendingToken === undefined) return;
    this.#options.credential?.refused(this.#pendingToken);
    this.#pendingToken = undefined;
    this.#scheduleRenewal();
  }

  /** The function has no token: final if it returned none, and tried again if it failed. */
  #withoutToken(base: string, cause: unknown): void {
    if (isFinal(cause)) return this.close(cause);
    const error = cause as TidingsError;
    this.#lost({ base, reason: error.message, error });
  }

  /** Abandons the connection when nothing arrives for `limitMs`. Uses one timer, however many messages arrive. */
  #watch(limitMs: number, reason: string): void {
    clearTimeout(this.#idleTimer);
    this.#lastReceivedAt = performance.now();
    const check = () => {
      const left = this.#lastReceivedAt + limitMs - performance.now();
      if (left > 0) this.#idleTimer = setTimeout(check, left);
      else this.#abandon({ base: this.#base, reason }, CLOSE_CODES.heartbeatTimeout);
    };
    this.#idleTimer = setTimeout(check, limitMs);
  }

  /** Closes the current socket and schedules a new connection. */
  #abandon(failure: Failure, code: number): void {
    const socket = this.#socket;
    // Schedule the next attempt first, in case closing the socket throws.
    this.#lost(failure);
    closeSocket(socket, code);
  }

  /** Detaches the current socket, whose events are ignored from here on, and stops the timers. */
  #release(): WebSocketLike | undefined {
    const socket = this.#socket;
    this.#socket = undefined;
    clearTimeout(this.#idleTimer);
    clearTimeout(this.#reconnectTimer);
    clearTimeout(this.#renewalTimer);
    return socket;
  }

  /** Schedules the next attempt, or closes for good if the close code is final. */
  #lost(failure: Failure): void {
    const { base, reason, code } = failure;
    this.#release();
    const final = code === undefined ? undefined : finalClose(code);
    const renews = code !== undefined && this.#canReplaceToken(code);
    if (renews && this.#token !== undefined) {
      this.#refusedToken = this.#token.text;
      this.#options.credential?.refused(this.#token.text);
    } else if (final !== undefined) {
      const advice = code === CLOSE_CODES.unauthenticated && this.#token === undefined ? NO_TOKEN : final.advice;
      const message = `the daemon at ${base} closed the connection for good: ${reason}; ${advice}`;
      return this.close(new TidingsError(final.code, message, { status: code }));
    }
    const now = performance.now();
    // A daemon in trouble may send welcome and close soon after. Only a connection that lasted resets the backoff.
    const { backoff, random } = this.#options;
    const wasOpen = this.#openedAt !== undefined;
    if (this.#openedAt !== undefined && now - this.#openedAt >= backoff.maxMs) this.#failures = 0;
    const drained = this.#reconnectAt;
    const delayMs = drained === undefined ? delayBefore(this.#failures, backoff, random) : Math.max(0, drained - now);
    this.#openedAt = undefined;
    this.#reconnectAt = undefined;
    this.#failures += 1;
    this.#node += 1;
    this.#reconnectTimer = setTimeout(() => void this.#connect(), delayMs);
    if (!wasOpen) this.#attempts += 1;
    const error = wasOpen || renews ? undefined : knownError(failure);
    this.#error = error ?? this.#error;
    this.#enter({ status: "reconnecting", attempt: this.#failures, delayMs, reason, error: this.#error });
    if (error) this.#report(error);
    // Rarely, since a daemon that has too much to do should not get twice as many requests.
    else if (!wasOpen && !renews && isPowerOfTwo(this.#attempts)) void this.#probe(failure);
  }

  /** Whether a new token may help after this close code: the one of this connection has expired, or may have. */
  #canReplaceToken(code: number): boolean {
    if (this.#options.credential?.isRenewable !== true) return false;
    const isFirstFrame = this.#openedAt === undefined;
    return code === CLOSE_CODES.tokenExpired || (code === CLOSE_CODES.unauthenticated && isFirstFrame && this.#token?.isNew === false);
  }

  /** Finds out why no WebSocket came up. */
  async #probe({ base, reason }: Failure): Promise<void> {
    const attempts = this.#attempts;
    const { credential } = this.#options;
    const error = await probe(base, reason, credential?.held, attempts > 1);
    if (error === undefined || this.#state.status !== "reconnecting" || this.#attempts < attempts) return;
    // What refuses the handshake refuses the next one, too. Of a token from a function there may be a newer one.
    if (error.code === "unauthenticated" && credential?.isRenewable !== true) return this.close(error);
    this.#error = error;
    this.#enter({ ...this.#state, error });
    this.#report(error);
  }

  /** Reports why no connection comes up, unless the same was reported before. */
  #report(error: TidingsError): void {
    // A listener of the state may have closed the bus.
    if (this.#state.status === "closed" || this.#reported.has(error.message)) return;
    this.#reported.add(error.message);
    this.#options.onFailure(error);
  }

  /** Changes the state, and reports it. */
  #enter(state: ConnectionState): void {
    this.#state = state;
    this.#options.onState(state);
  }
}

/** How a connection was lost, or an attempt failed. */
interface Failure {
  /** The address of the node. */
  readonly base: string;
  /** The reason, for people. */
  readonly reason: string;
  /** The close code, if the daemon sent one. */
  readonly code?: number;
  /** The error of the WebSocket, if it has one. */
  readonly cause?: unknown;
  /** The error, if it is known. */
  readonly error?: TidingsError;
}

/** What to do where the daemon wants a token and the bus has none. */
const NO_TOKEN = "pass a token to connect, as the option token";

/** The frame that presents a token. */
function authFrame(token: string): string {
  return JSON.stringify({ type: "auth", token } satisfies ClientFrame);
}

/** Whether the function has said that there is no token. */
function isFinal(cause: unknown): cause is TidingsError {
  return cause instanceof TidingsError && cause.code === "unauthenticated";
}

/** The error for an attempt that failed, if the WebSocket has told enough. */
function knownError({ base, reason, code, cause, error }: Failure): TidingsError | undefined {
  if (error !== undefined) return error;
  if (code !== undefined) {
    const message = `the daemon at ${base} closed the connection at once: ${reason}; the client tries again`;
    return new TidingsError(CODE_OF_CLOSE.get(code) ?? "network", message, { status: code });
  }
  const explanation = explain(cause ?? reason);
  return explanation.sent === false ? unreachable(base, explanation, cause) : undefined;
}

const CODE_OF_CLOSE: ReadonlyMap<number, ErrorCode> = new Map([
  [CLOSE_CODES.draining, "draining"],
  [CLOSE_CODES.brokerUnavailable, "broker-unavailable"],
]);

function isPowerOfTwo(count: number): boolean {
  return (count & (count - 1)) === 0;
}

/** Closes a socket in the background. Sends no reason text, since one of more than 123 bytes would throw. */
function closeSocket(socket: WebSocketLike | undefined, code: number): void {
  try {
    socket?.close(code);
  } catch {
    // The socket is already detached, so the failure has no effect.
  }
}
