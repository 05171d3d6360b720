// The `sync` frames of a bus: each asks the daemon to send first what its log has, and then to say so.
//
// Calls that are made before a frame is sent share it: the frame asks later than each of them, which is what they want. A call
// that comes while a frame is outstanding may not share it, since the daemon may have looked at the log before.
//
// A frame is sent only while every subscription is live, so that the answer covers them all. After a reconnect, what has no
// answer is asked again.

import { onAbort } from "./aborting.js";
import { type ErrorCode, TidingsError } from "./errors.js";
import type { ClientFrame, ServerFrame } from "./generated/protocol.js";
import type { Timer, Timers } from "./timers.js";

export interface SyncsOptions {
  readonly timers: Timers;
  readonly send: (frame: ClientFrame) => void;
  /** Whether a frame can be sent, and every subscription is live. */
  readonly isReady: () => boolean;
  /** How long ago the last frame arrived, in milliseconds. */
  readonly silentMs: () => number;
  /** Opens a new connection. */
  readonly restart: (reason: string) => void;
}

/** A call of `bus.sync`. */
interface Call {
  readonly resolve: (positions: ReadonlyMap<string, string>) => void;
  readonly reject: (error: unknown) => void;
}

/** The calls that share a frame. */
interface Batch {
  readonly calls: Set<Call>;
  /** When the frame was sent, by `performance.now()`. */
  readonly sentAt: number;
}

/** How many frames may be outstanding on a connection (the daemon refuses more). */
const MAX_OUTSTANDING = 8;
/**
 * How long the daemon may be silent while a sync is outstanding, in milliseconds. It answers within 3 s, so the connection is dead.
 * The heartbeat would notice only after 50 s.
 */
const SILENCE_MS = 10_000;

export class Syncs {
  readonly #options: SyncsOptions;
  #waiting = new Set<Call>();
  /** By the id of the frame. */
  readonly #outstanding = new Map<string, Batch>();
  #count = 0;
  #isScheduled = false;
  #timer: Timer | undefined;

  constructor(options: SyncsOptions) {
    this.#options = options;
  }

  /** Asks for the positions. Rejects when `signal` is aborted. */
  add(signal: AbortSignal | undefined): Promise<ReadonlyMap<string, string>> {
    return new Promise((resolve, reject) => {
      const call: Call = {
        resolve: (positions) => (forget(), resolve(positions)),
        reject: (error) => (forget(), reject(error)),
      };
      this.#waiting.add(call);
      const forget = onAbort(signal, () => {
        this.#waiting.delete(call);
        for (const { calls } of this.#outstanding.values()) calls.delete(call);
        reject(signal?.reason);
      });
      this.flush();
    });
  }

  /** Sends what waits, if that is possible, after the code that runs now. */
  flush(): void {
    if (this.#isScheduled || this.#waiting.size === 0) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      if (this.#waiting.size === 0 || this.#outstanding.size >= MAX_OUTSTANDING || !this.#options.isReady()) return;
      const id = String(++this.#count);
      this.#outstanding.set(id, { calls: this.#waiting, sentAt: performance.now() });
      this.#waiting = new Set();
      this.#options.send({ type: "sync", id });
      this.#watch();
    });
  }

  /** The connection is lost: what has no answer waits for the next one. */
  connectionLost(): void {
    this.#options.timers.stop(this.#timer);
    this.#timer = undefined;
    for (const { calls } of this.#outstanding.values()) for (const call of calls) this.#waiting.add(call);
    this.#outstanding.clear();
  }

  /** Rejects everything: the bus is closed. */
  end(error: TidingsError): void {
    this.connectionLost();
    const calls = this.#waiting;
    this.#waiting = new Set();
    for (const { reject } of calls) reject(error);
  }

  /** Handles a frame of the daemon. Returns whether it was an answer to a sync. */
  handle(frame: ServerFrame): boolean {
    if (frame.type === "synced") {
      const positions = new Map(Object.entries(frame.positions));
      for (const { resolve } of this.#take(frame.id)) resolve(positions);
      return true;
    }
    if (frame.type !== "error") return false;
    const { code, message, id } = frame;
    // A daemon that does not know the frame does not know its id either.
    const isUnknown = code === "unknown-frame" && this.#outstanding.size > 0;
    const failed = id !== undefined ? [id] : isUnknown ? [...this.#outstanding.keys()] : [];
    for (const id of failed) for (const { reject } of this.#take(id)) reject(new TidingsError(code as ErrorCode, message));
    return failed.length > 0;
  }

  #take(id: string): Set<Call> {
    const batch = this.#outstanding.get(id);
    this.#outstanding.delete(id);
    this.flush();
    return batch?.calls ?? new Set();
  }

  /** Opens a new connection if this one stays silent. */
  #watch(): void {
    this.#timer ??= this.#options.timers.start(() => {
      this.#timer = undefined;
      const [oldest] = this.#outstanding.values();
      if (oldest === undefined) return;
      // A timer of a hidden page is late, so that silence alone says little.
      const silentMs = Math.min(this.#options.silentMs(), performance.now() - oldest.sentAt);
      if (silentMs >= SILENCE_MS) this.#options.restart(`the daemon did not answer a sync for ${SILENCE_MS / 1000} s`);
      else this.#watch();
    }, SILENCE_MS);
  }
}
