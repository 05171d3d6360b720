// The connection of a bus: connects when it is first needed, detects silence, and reconnects for as long as the bus is open.
//
// There is one socket at a time: a WebSocket, or what replaces it (`transports.ts`). This module does not know subscriptions: it
// reports when a connection is open, and passes frames on. After a failure it connects to the next node.
//
// Browsers let nobody set a header of a WebSocket, so the token is the first frame, and nothing else is sent before `welcome`.
// `renewal.ts` says when the token is renewed, and whether a refusal of it is final.

import type { Backoff } from "./backoff.js";
import { TidingsError } from "./errors.js";
import { type Failure, NO_TOKEN } from "./failure.js";
import { finalClose, readFrame } from "./frames.js";
import { type ClientFrame, CLOSE_CODES, type ServerFrame, SUBPROTOCOL } from "./generated/protocol.js";
import type { JsonCodec } from "./json.js";
import { Liveness } from "./liveness.js";
import { isFinal, Renewal } from "./renewal.js";
import { Schedule } from "./schedule.js";
import type { ConnectionState, Transport } from "./state.js";
import type { Timer, Timers } from "./timers.js";
import type { Credential } from "./token.js";
import type { Transports } from "./transports.js";
import type { Unref } from "./unref.js";
import { onWaking } from "./waking.js";
import { closeSocket, type WebSocketLike } from "./websocket.js";

export interface ConnectionOptions {
  /** The address of each node. At least one. */
  readonly urls: readonly string[];
  readonly credential: Credential | undefined;
  readonly transports: Transports;
  readonly json: JsonCodec;
  readonly timers: Timers;
  readonly backoff: Backoff;
  readonly random: () => number;
  readonly onState: (state: ConnectionState) => void;
  readonly onFrame: (frame: ServerFrame) => void;
  /** Called when no connection comes up: once for each reason, until one is open. */
  readonly onFailure: (error: TidingsError) => void;
}

/** How long a daemon may take to send `welcome`, in milliseconds. */
const WELCOME_TIMEOUT_MS = 10_000;
/** About how long the fallback is in use before a WebSocket is tried again, in milliseconds. */
const RETURN_MS = 300_000;

/** A connection to one of the nodes, which is replaced when it is lost. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #liveness: Liveness;
  readonly #renewal: Renewal | undefined;
  #state: ConnectionState = { status: "idle" };
  #socket: WebSocketLike | undefined;
  /** The current attempt to connect. `undefined` if it is not wanted any more. */
  #attempt: object | undefined;
  /** The number of the current node, modulo the count of nodes. */
  #node = 0;
  /** The address of the node of the current attempt or connection. */
  #base = "";
  /** Whether the current attempt or connection uses the fallback. */
  #isFallback = false;
  /** When the connection became open, by `performance.now()`, as all times here. */
  #openedAt: number | undefined;
  readonly #schedule: Schedule;
  /** The number of attempts since a connection was last open. */
  #attempts = 0;
  /** Why no connection comes up, as far as that is known. */
  #error: TidingsError | undefined;
  /** The messages of the failures that were reported since a connection was last open. */
  readonly #reported = new Set<string>();
  #returnTimer: Timer | undefined;
  /** Whether a WebSocket is tried beside the fallback. */
  #isTrying = false;
  /** Runs while the next attempt waits. */
  #reconnectTimer: Timer | undefined;
  /** Whether the page is in the back/forward cache. */
  #isSuspended = false;
  #stopWaking: (() => void) | undefined;
  /** What is done with each new socket, once the bus does not keep the process alive. */
  #unref: Promise<Unref> | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { credential, backoff, random, timers } = options;
    this.#schedule = new Schedule(backoff, random);
    this.#liveness = new Liveness({
      timers,
      ping: () => this.send({ type: "ping" }),
      onDead: (reason) => this.#abandon({ base: this.#base, reason }, CLOSE_CODES.heartbeatTimeout),
    });
    this.#renewal = credential && new Renewal({
      credential, backoff, random, timers,
      send: (token) => this.#socket?.send(authFrame(token)),
      onEnd: (error) => this.close(error),
      onFailure: (error) => this.#report(error),
    });
  }

  /** Begins to connect, unless that has begun before. */
  open(): void {
    if (this.#state.status !== "idle") return;
    this.#stopWaking ??= onWaking({ wake: () => this.wake(), suspend: () => this.#suspend() });
    this.#enter({ status: "connecting" });
    void this.#connect();
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Whether frames can be sent. */
  get isOpen(): boolean {
    return this.#state.status === "open" || this.#state.status === "draining";
  }

  /** What the connection uses, while it is open. */
  get transport(): Transport | undefined {
    return this.isOpen ? ((this.#socket as { transport?: Transport }).transport ?? "websocket") : undefined;
  }

  /** How long ago the last frame of this connection arrived, in milliseconds. */
  get silentMs(): number {
    return this.#liveness.silentMs;
  }

  /** Sends a frame if the connection is open, and drops it otherwise. */
  send(frame: ClientFrame): void {
    if (this.isOpen) this.#socket?.send(this.#options.json.stringify(frame));
  }

  /** Closes the connection, and opens a new one to the same node. With `isWanted`, nothing has failed. */
  restart(reason: string, isWanted = false): void {
    if (!this.isOpen) return;
    this.#node -= 1;
    this.#abandon({ base: this.#base, reason, isWanted }, CLOSE_CODES.normal);
  }

  /** Acts at once where a timer would act later: tries to connect, or finds out whether the open connection is alive. */
  wake(): void {
    const isWaiting = this.#isSuspended || this.#reconnectTimer !== undefined;
    if (this.#state.status === "reconnecting" && isWaiting) {
      this.#options.timers.stop(this.#reconnectTimer);
      void this.#connect();
    } else if (this.isOpen) {
      this.#liveness.ask();
      if (this.#isFallback) void this.#tryWebSocket();
    }
  }

  /** Closes the connection until it is needed again. */
  rest(): void {
    if (this.#state.status === "closed" || this.#state.status === "idle") return;
    const socket = this.#release();
    this.#stop();
    this.#enter({ status: "idle" });
    closeSocket(socket, CLOSE_CODES.normal);
  }

  /** Closes the connection for good. */
  close(error?: TidingsError): void {
    if (this.#state.status === "closed") return;
    const socket = this.#release();
    this.#stop();
    void this.#unref?.then(({ stop }) => stop());
    this.#enter(error ? { status: "closed", error } : { status: "closed" });
    closeSocket(socket, CLOSE_CODES.normal);
  }

  /** From now on, the connection does not keep the process alive. */
  unref(): void {
    if (this.#state.status === "closed") return;
    this.#unref ??= import("./unref.js").then(({ unrefSockets }) => unrefSockets(this.#options.urls, this.#socket));
  }

  async #connect(): Promise<void> {
    let socket: WebSocketLike;
    const { urls, transports } = this.#options;
    const base = urls[this.#node % urls.length]!;
    const attempt = {};
    this.#reconnectTimer = undefined;
    this.#isSuspended = false;
    this.#attempt = attempt;
    this.#base = base;
    let token: string | undefined;
    try {
      // Before there is a socket: the daemon waits 5 s for the token.
      token = await this.#renewal?.begin(base);
    } catch (cause) {
      if (this.#attempt === attempt) this.#withoutToken(base, cause);
      return;
    }
    try {
      const unref = await this.#unref;
      const WebSocket = await transports.next();
      if (this.#attempt !== attempt) return;
      this.#isFallback = transports.isFallback;
      socket = new WebSocket(`${base.replace(/^http/, "ws")}/v1/ws`, SUBPROTOCOL);
      unref?.socket(socket);
    } catch (cause) {
      if (this.#attempt !== attempt) return;
      // The code of the fallback could not be loaded.
      if (transports.isFallback) return this.#lost({ base, reason: String(cause), cause });
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
      const text = token;
      socket.addEventListener("open", whileCurrent(() => socket.send(authFrame(text))));
    }
    socket.addEventListener("message", whileCurrent<{ data: unknown }>(({ data }) => this.#receive(data)));
    socket.addEventListener("error", ({ message, error }: { message?: string; error?: { code?: unknown } }) => {
      // The error for several addresses of a host has no message.
      failure = { base, reason: message || String(error?.code ?? failure.reason), cause: error };
      // Without a WebSocket, nothing else finds out why. Of no answer at all, the probe knows more.
      if (!transports.mayReturn && error instanceof TidingsError && error.code !== "network") failure = { ...failure, error };
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
    this.#liveness.watch(WELCOME_TIMEOUT_MS, `the daemon did not send welcome within ${WELCOME_TIMEOUT_MS / 1000} s`);
  }

  #receive(data: unknown): void {
    const { timers, transports, random, json, onFrame } = this.#options;
    const now = this.#liveness.received();
    const frame = readFrame(data, json);
    if (frame === undefined) return;
    if (frame.type === "welcome") {
      this.#openedAt = now;
      this.#attempts = 0;
      this.#error = undefined;
      this.#reported.clear();
      transports.opened(this.#isFallback);
      this.#liveness.watch(2 * frame.heartbeatMs, "no heartbeat for two intervals");
      this.#renewal?.welcomed();
      this.#renewal?.authenticated(frame.expiresInMs);
      const tryWebSocket = () => void this.#tryWebSocket();
      if (this.#isFallback) this.#returnTimer = timers.start(tryWebSocket, RETURN_MS * (0.5 + random()));
      this.#enter({ status: "open", session: frame.session, node: frame.node });
    } else if (frame.type === "draining") {
      const { reconnectInMs } = frame;
      this.#schedule.leaveAt(now + reconnectInMs);
      timers.stop(this.#reconnectTimer);
      this.#reconnectTimer = timers.start(() => {
        // Reconnect without delay, even if the timer fired a fraction early.
        this.#schedule.leaveAt(0);
        this.#abandon({ base: this.#base, reason: "the node is draining" }, CLOSE_CODES.normal);
      }, reconnectInMs);
      this.#enter({ status: "draining", reconnectInMs });
    } else if (frame.type === "authenticated") {
      this.#renewal?.authenticated(frame.expiresInMs);
    } else {
      // The former token goes on: the daemon has changed nothing.
      const isRefusal = frame.type === "error" && frame.code === "unauthenticated" && frame.sub === undefined && frame.id === undefined;
      if (isRefusal) this.#renewal?.refusedWhileOpen();
      onFrame(frame);
    }
  }

  /** The function has no token: final if it returned none, and tried again if it failed. */
  #withoutToken(base: string, cause: unknown): void {
    if (isFinal(cause)) return this.close(cause);
    const error = cause as TidingsError;
    this.#lost({ base, reason: error.message, error });
  }

  /** Returns from the fallback to a WebSocket, if one comes up. The fallback goes on meanwhile. */
  async #tryWebSocket(): Promise<void> {
    const { timers, transports, random } = this.#options;
    const socket = this.#socket;
    timers.stop(this.#returnTimer);
    if (!transports.mayReturn || this.#isTrying) return;
    this.#isTrying = true;
    const comesUp = await transports.comesUp(`${this.#base.replace(/^http/, "ws")}/v1/ws`, SUBPROTOCOL, this.#unref);
    this.#isTrying = false;
    if (this.#socket !== socket) return;
    if (comesUp) this.restart("a WebSocket comes up again", true);
    else this.#returnTimer = timers.start(() => void this.#tryWebSocket(), RETURN_MS * (0.5 + random()));
  }

  /** The page goes into the back/forward cache: closes the connection until it wakes up. */
  #suspend(): void {
    if (this.#state.status === "closed" || this.#state.status === "idle") return;
    const socket = this.#release();
    this.#isSuspended = true;
    closeSocket(socket, CLOSE_CODES.normal);
    this.#enter({ status: "reconnecting", attempt: this.#schedule.attempt, delayMs: 0, reason: "the page is in the back/forward cache" });
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
    const { timers } = this.#options;
    const socket = this.#socket;
    this.#socket = this.#attempt = undefined;
    for (const timer of [this.#returnTimer, this.#reconnectTimer]) timers.stop(timer);
    this.#returnTimer = this.#reconnectTimer = undefined;
    this.#liveness.stop();
    this.#openedAt = undefined;
    this.#renewal?.stop();
    return socket;
  }

  #stop(): void {
    this.#stopWaking?.();
    this.#stopWaking = undefined;
    this.#isSuspended = false;
    this.#schedule.leaveAt(undefined);
  }

  /** Schedules the next attempt, or closes for good if the close code is final. */
  #lost(failure: Failure): void {
    const { base, reason, code } = failure;
    const { timers, transports } = this.#options;
    const openedAt = this.#openedAt;
    this.#release();
    const final = code === undefined ? undefined : finalClose(code);
    const renews = code !== undefined && this.#renewal?.isReplaceable(code, openedAt === undefined) === true;
    if (final !== undefined && !renews) {
      const advice = code === CLOSE_CODES.unauthenticated && this.#renewal === undefined ? NO_TOKEN : final.advice;
      const message = `the daemon at ${base} closed the connection for good: ${reason}; ${advice}`;
      return this.close(new TidingsError(final.code, message, { status: code }));
    }
    const wasOpen = openedAt !== undefined;
    const { attempt, delayMs } = this.#schedule.next(wasOpen ? performance.now() - openedAt : 0, failure.isWanted);
    // The fallback was another way to the same node.
    if (wasOpen || !this.#isFallback || !transports.mayReturn) this.#node += 1;
    this.#reconnectTimer = timers.start(() => void this.#connect(), delayMs);
    if (!wasOpen) this.#attempts += 1;
    // With a close code, the daemon has answered: another transport would be told the same.
    if (!wasOpen && code === undefined && failure.error === undefined) transports.failed();
    const error = wasOpen || renews ? undefined : failure.error;
    this.#error = error ?? this.#error;
    this.#enter({ status: "reconnecting", attempt, delayMs, reason, error: this.#error });
    if (error) this.#report(error);
    else if (!wasOpen && !renews) void this.#explain(failure);
  }

  /** Finds out why no connection came up. */
  async #explain(failure: Failure): Promise<void> {
    const attempts = this.#attempts;
    const { credential, transports } = this.#options;
    const { hasUntried } = transports;
    // Most pages never need it.
    const loaded = await import("./probe.js").catch(() => undefined);
    const { error, isBlocked } = (await loaded?.explainFailure(failure, credential?.held, attempts)) ?? {};
    if (error === undefined || this.#state.status !== "reconnecting" || this.#attempts < attempts) return;
    // What refuses the handshake refuses the next one, too. Of a token from a function there may be a newer one.
    if (error.code === "unauthenticated" && credential?.isRenewable !== true) return this.close(error);
    this.#error = error;
    this.#enter({ ...this.#state, error });
    // Where only the WebSocket is held up, the fallback may come up.
    if (!hasUntried || !isBlocked) this.#report(error);
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

/** The frame that presents a token. */
const authFrame = (token: string) => JSON.stringify({ type: "auth", token } satisfies ClientFrame);
