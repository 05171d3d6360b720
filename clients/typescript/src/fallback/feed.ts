// What delivers the events of a connection without a WebSocket: event streams, or long-polls where a proxy holds a stream back.
//
// One request has all channels. Only where their cursor would be long, there are several.

import { TidingsError } from "../errors.js";
import type { Gap } from "../subscription.js";
import { groups, readCursor } from "./cursor.js";
import { deliverPage, type PageSink } from "./page.js";
import { type Block, Parser } from "./parser.js";
import { LIMIT, type Positions, type Requests } from "./requests.js";

/** Why a feed ends. */
export interface End {
  readonly reason: string;
  /** The close code that a WebSocket would have. */
  readonly code?: number;
  /** When to come back, in milliseconds, if the node stops. */
  readonly retryMs?: number;
  readonly error?: unknown;
}

/** Receives what a feed delivers: of each channel in the order of its log. */
export interface FeedHandler extends PageSink {
  /** The position that the connection has reached. */
  position(channel: string): string;
  /** Reads the log of these channels up to its end. */
  catchUp(channels: readonly string[]): Promise<void>;
  /** Something has arrived. */
  alive(): void;
  /** The daemon refuses the request. */
  refused(error: TidingsError): void;
  end(end: End): void;
}

/** What delivers events. */
export interface Feed {
  /** Delivers the events of these channels from here on, from the positions that the connection has reached. */
  follow(channels: readonly string[], where: string | undefined): void;
  /** Begins again from there: what had arrived only seemingly is asked for once more. */
  restart(): void;
  close(): void;
}

/** What the sockets of a bus have learned about the way to the daemon. */
export interface Path {
  readonly allowsStreams: boolean;
  readonly allowsPolls: boolean;
  /** Until when streams are known to be held back, by `performance.now()`. */
  heldBackUntil: number;
}

/** How long the first block of a stream may take, in milliseconds. The daemon sends it at once. */
const FIRST_BLOCK_MS = 5_000;
/** How long long-polls are used before a stream is tried again, in milliseconds. */
const HELD_BACK_MS = 600_000;
/** A stream that lasted so long is opened again at once when it breaks, in milliseconds: proxies end streams after a while. */
const LASTED_MS = 5_000;
/** How long a long-poll waits, in seconds. Less than the 30 s after which some proxies give up. */
const WAIT_SECONDS = 25;

/** Whether event streams are to be used. */
export function usesStreams({ allowsStreams, allowsPolls, heldBackUntil }: Path): boolean {
  return allowsStreams && (!allowsPolls || performance.now() >= heldBackUntil);
}

/** The feed of one page or process. */
export class OwnFeed implements Feed {
  readonly #requests: Requests;
  readonly #path: Path;
  readonly #handler: FeedHandler;
  #channels: readonly string[] = [];
  #where: string | undefined;
  /** Aborted when other requests replace the current ones. */
  #current = new AbortController();

  constructor(requests: Requests, path: Path, handler: FeedHandler) {
    this.#requests = requests;
    this.#path = path;
    this.#handler = handler;
  }

  follow(channels: readonly string[], where: string | undefined): void {
    this.#channels = channels;
    this.#where = where;
    this.restart();
  }

  restart(): void {
    this.close();
    const current = (this.#current = new AbortController());
    for (const group of groups(this.#channels)) void this.#run(group, current.signal);
  }

  close(): void {
    this.#current.abort();
  }

  /** Delivers the events of a group until it is replaced, or fails. */
  async #run(channels: readonly string[], signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        if (usesStreams(this.#path)) await this.#stream(channels, signal);
        else await this.#poll(channels, signal);
      }
    } catch (error) {
      if (signal.aborted) return;
      this.close();
      if (isEnd(error)) this.#handler.end(error);
      else if (isRefused(error) && error.status !== 429) this.#handler.refused(error);
      else this.#handler.end({ reason: error instanceof Error ? error.message : String(error), error });
    }
  }

  /** Reads one event stream to its end. Returns if it is to be opened again, or is held back. */
  async #stream(channels: readonly string[], signal: AbortSignal): Promise<void> {
    const own = new AbortController();
    const abort = () => own.abort();
    signal.addEventListener("abort", abort);
    let isHeldBack = false;
    let beganAt: number | undefined;
    let retryMs: number | undefined;
    let closed: End | undefined;
    const { timers } = this.#requests;
    const timer = timers.start(() => {
      isHeldBack = true;
      abort();
    }, FIRST_BLOCK_MS);
    const parser = new Parser({
      onRetry: (ms) => (retryMs = ms),
      onBlock: (block) => {
        if (beganAt === undefined) timers.stop(timer);
        beganAt ??= performance.now();
        if (block.event === "closed") closed = closedBy(block, retryMs);
        else if (!signal.aborted) this.#block(block);
      },
    });
    try {
      const { body } = await this.#requests.stream({ channels, where: this.#where, since: this.#positions(channels) }, own.signal);
      // As in React Native: `fetch` gives no stream there.
      if (!body) isHeldBack = true;
      const reader = body?.getReader();
      const decoder = new TextDecoder();
      for (;;) {
        const { done, value } = (await reader?.read()) ?? { done: true };
        if (done || signal.aborted) break;
        parser.push(decoder.decode(value, { stream: true }));
        if (beganAt !== undefined) this.#handler.alive();
      }
      parser.end();
    } catch (error) {
      signal.throwIfAborted();
      const hasAnswer = error instanceof TidingsError && error.status !== undefined;
      const lasted = beganAt !== undefined && performance.now() - beganAt >= LASTED_MS;
      if (!isHeldBack && (hasAnswer || !lasted)) throw error;
    } finally {
      timers.stop(timer);
      signal.removeEventListener("abort", abort);
      abort();
    }
    signal.throwIfAborted();
    if (closed) throw closed;
    if (isHeldBack) {
      if (!this.#path.allowsPolls) throw { reason: "something between here and the daemon holds the event stream back" } satisfies End;
      this.#path.heldBackUntil = performance.now() + HELD_BACK_MS;
    } else if (beganAt === undefined || performance.now() - beganAt < LASTED_MS) {
      throw { reason: "the event stream has ended" } satisfies End;
    }
  }

  #block({ event, data, id }: Block): void {
    const positions = readCursor(id);
    if (event === "gap") return this.#handler.gap(JSON.parse(data) as Gap);
    if (event === "cursor") return this.#handler.reached(positions);
    // The reason why the stream ends follows.
    if (event === "error") return;
    const position = positions.get(event);
    if (position !== undefined) this.#handler.event(event, position, data);
  }

  /** Asks for events again and again. The first answer comes at once. */
  async #poll(channels: readonly string[], signal: AbortSignal): Promise<void> {
    for (let wait = 0; !usesStreams(this.#path); wait = WAIT_SECONDS) {
      const page = await this.#requests.history({ channels, where: this.#where, since: this.#positions(channels) }, LIMIT, wait, signal);
      signal.throwIfAborted();
      deliverPage(page, this.#requests.json, this.#handler);
      this.#handler.alive();
    }
  }

  #positions(channels: readonly string[]): Positions {
    return new Map(channels.map((channel) => [channel, this.#handler.position(channel)]));
  }
}

/** Why the daemon ended the stream. */
function closedBy({ data }: Block, retryMs: number | undefined): End {
  const { code, reason } = JSON.parse(data) as { code: number; reason: string };
  return { code, reason, ...(retryMs !== undefined && { retryMs }) };
}

/** Whether a daemon refuses the request. Another server that answers in between says nothing about it. */
export function isRefused(error: unknown): error is TidingsError {
  if (!(error instanceof TidingsError) || error.status === undefined) return false;
  return error.status >= 400 && error.status < 500 && error.code !== "unexpected-response";
}

/** Whether the daemon cannot answer at this moment. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof TidingsError && (error.code === "broker-unavailable" || error.code === "timeout");
}

function isEnd(error: unknown): error is End {
  return typeof error === "object" && error !== null && !(error instanceof Error) && "reason" in error;
}
