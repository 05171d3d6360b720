// Which transport the next attempt to connect uses.
//
// A WebSocket is tried first. Where none comes up twice, the next attempt is the fallback: an event stream, then long-polls. It is
// made like a WebSocket, so that the connection knows no difference. A bus that never needs it does not load its code.
//
// If the fallback does not come up either, WebSockets and the fallback take turns: most likely the daemon is down.

import { TidingsError } from "./errors.js";
import { CLOSE_CODES } from "./generated/protocol.js";
import type { JsonCodec } from "./json.js";
import type { FetchLike } from "./publish.js";
import type { Transport } from "./state.js";
import type { Timer, Timers } from "./timers.js";
import type { Unref } from "./unref.js";
import { closeSocket, type WebSocketConstructor, type WebSocketLike } from "./websocket.js";

/** How many attempts with a WebSocket fail before the fallback is tried. */
const ATTEMPTS = 2;
/** How long a WebSocket may take to open while it is tried beside the fallback, in milliseconds. */
const TRIAL_MS = 10_000;

export interface TransportsOptions {
  readonly allowed: readonly Transport[];
  readonly webSocket: () => Promise<WebSocketConstructor>;
  readonly fetch: FetchLike;
  readonly json: JsonCodec;
  readonly timers: Timers;
}

export class Transports {
  readonly #options: TransportsOptions;
  /** The number of attempts in a row that did not come up. */
  #failures = 0;
  #hasWebSocket: boolean;
  readonly #hasFallback: boolean;
  #fallback: Promise<WebSocketConstructor> | undefined;

  /** @throws {TypeError} if `allowed` names no transport, or one that does not exist. */
  constructor(options: TransportsOptions) {
    const { allowed } = options;
    const known: readonly string[] = ["websocket", "sse", "long-poll"] satisfies Transport[];
    if (allowed.length === 0 || !allowed.every((name) => known.includes(name))) {
      throw new TypeError(`the option transports must name some of ${known.join(", ")}, not ${JSON.stringify(allowed)}`);
    }
    this.#options = options;
    this.#hasWebSocket = allowed.includes("websocket");
    this.#hasFallback = allowed.some((name) => name !== "websocket");
  }

  /** Whether the next attempt uses the fallback. */
  get isFallback(): boolean {
    if (!this.#hasWebSocket || !this.#hasFallback) return this.#hasFallback;
    return this.#failures >= ATTEMPTS && this.#failures % ATTEMPTS === 0;
  }

  /** Whether a failure of the last attempt leaves something to try that has not failed yet. */
  get hasUntried(): boolean {
    return this.#hasFallback && this.#hasWebSocket && this.#failures <= ATTEMPTS;
  }

  /** Whether a WebSocket may be tried while the fallback is in use. */
  get mayReturn(): boolean {
    return this.#hasWebSocket;
  }

  /** The constructor for the next attempt. */
  async next(): Promise<WebSocketConstructor> {
    if (!this.isFallback) {
      try {
        return await this.#options.webSocket();
      } catch (cause) {
        if (!this.#hasFallback || !(cause instanceof TidingsError)) throw cause;
        this.#hasWebSocket = false;
      }
    }
    this.#fallback ??= import("./fallback/index.js").then(({ fallback }) => fallback(this.#options));
    return this.#fallback;
  }

  /** An attempt did not come up. */
  failed(): void {
    this.#failures++;
  }

  /** An attempt came up. After a WebSocket, the next one is a WebSocket, too. */
  opened(wasFallback: boolean): void {
    this.#failures = wasFallback ? ATTEMPTS : 0;
  }

  /** Whether a WebSocket opens by now. If so, the next attempt uses one. `unref` is what is done with a new socket. */
  async comesUp(url: string, protocol: string, unref: Promise<Unref> | undefined): Promise<boolean> {
    const { timers } = this.#options;
    let socket: WebSocketLike | undefined;
    let timer: Timer | undefined;
    try {
      const WebSocket = await this.#options.webSocket();
      const trial = new WebSocket(url, protocol);
      socket = trial;
      void unref?.then(({ socket }) => socket(trial));
      const opens = await new Promise<boolean>((resolve) => {
        trial.addEventListener("open", () => resolve(true));
        trial.addEventListener("error", () => resolve(false));
        trial.addEventListener("close", () => resolve(false));
        timer = timers.start(() => resolve(false), TRIAL_MS);
      });
      // One failure is left: a proxy may open a WebSocket and let nothing through.
      if (opens) this.#failures = ATTEMPTS - 1;
      return opens;
    } catch {
      return false;
    } finally {
      timers.stop(timer);
      closeSocket(socket, CLOSE_CODES.normal);
    }
  }
}
