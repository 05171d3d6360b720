// A socket that speaks the frames of a WebSocket, over requests of HTTP: what a bus uses where no WebSocket comes up.
//
// The rest of the client knows no difference. Filters, gaps, positions and the renewal of a token are the same. A `sync` reads the
// log up to its end, and hands out what the feed has not delivered yet.
//
// Two sources deliver events of a channel: the feed, and what a `sync` reads. Each is in order and without holes from the position
// that the connection had when it began. So an event is passed on exactly if it is after the position of its channel. A channel that
// is ended and begins again further back is another one: what was asked for the former one is not passed on to it.

import { TidingsError } from "../errors.js";
import type { ClientFrame, ServerFrame } from "../generated/protocol.js";
import { CLOSE_CODES } from "../generated/protocol.js";
import { before, reaches } from "../position.js";
import type { Transport } from "../state.js";
import type { Gap } from "../subscription.js";
import type { Timer } from "../timers.js";
import type { WebSocketLike } from "../websocket.js";
import { epoch, groups, offset, readCursor } from "./cursor.js";
import { type End, type Feed, type FeedHandler, isRefused, isUnavailable, OwnFeed, type Path, usesStreams } from "./feed.js";
import { remainingMs } from "./jwt.js";
import { deliverPage, type PageSink } from "./page.js";
import { LIMIT, type Positions, type Requests } from "./requests.js";
import { canShare, SharedFeed } from "./shared.js";

/** The heartbeat that the connection expects, in milliseconds. A stream has one every 25 s by default, and so long a poll waits. */
const HEARTBEAT_MS = 25_000;
/**
 * After how much silence the log is read, in milliseconds. A daemon with a longer heartbeat than the one that is expected says nothing
 * meanwhile, and does not tell its heartbeat over HTTP.
 */
const SILENCE_MS = 40_000;
/** Events at which one answer of the daemon stops, if a filter lets few of them through. */
const MAX_SCANNED = 20_000;

type Subscribe = Extract<ClientFrame, { type: "subscribe" }>;

/** A channel of the connection. */
interface Channel {
  /** The position up to which everything was passed on. */
  position: string;
  /** By the name of the subscription: its request. */
  readonly subs: Map<string, Subscribe>;
}

/** Where a subscription begins. */
interface Begin {
  readonly position: string;
  readonly recovered?: boolean;
  readonly gap?: Gap;
}

export class HttpSocket implements WebSocketLike, FeedHandler {
  readonly #requests: Requests;
  readonly #path: Path;
  readonly #feed: Feed;
  readonly #closing = new AbortController();
  readonly #listeners = new Map<string, ((event: any) => void)[]>();
  readonly #channels = new Map<string, Channel>();
  /** The frames of the client are handled in their order. */
  #queue: Promise<void> = Promise.resolve();
  #queued = 0;
  #isWelcomed = false;
  /** Whether the feed does not follow what is subscribed yet. */
  #isStale = false;
  /** What the feed was given: its filter, and its channels. One that was ended and has begun again is another one. */
  #filter: string | undefined;
  #followed: ReadonlySet<Channel | undefined> = new Set<Channel>();
  /** When something was last passed on, by `performance.now()`. */
  #heardAt = 0;
  #silenceTimer: Timer | undefined;
  /** The number of events and gaps that were passed on. */
  #delivered = 0;

  constructor(base: string, requests: Requests, path: Path) {
    this.#requests = requests;
    this.#path = path;
    this.#feed = canShare() ? new SharedFeed(base, requests, path, this) : new OwnFeed(requests, path, this);
    queueMicrotask(() => void this.#start());
  }

  get transport(): Transport {
    return usesStreams(this.#path) ? "sse" : "long-poll";
  }

  addEventListener(type: string, listener: (event: any) => void): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }

  send(text: string): void {
    const frame = this.#requests.json.parse(text) as ClientFrame;
    if (frame.type === "auth") this.#auth(frame.token);
    else if (frame.type === "subscribe") this.#subscribe(frame);
    else if (frame.type === "unsubscribe") this.#enqueue(async () => this.#unsubscribe(frame.sub));
    else if (frame.type === "sync") this.#enqueue(async () => void this.#sync(frame.id));
    else this.#ping();
  }

  close(): void {
    this.#closing.abort();
    this.#requests.timers.stop(this.#silenceTimer);
    this.#feed.close();
  }

  async #start(): Promise<void> {
    // The connection sends its token at once.
    this.#fire("open", {});
    if (this.#isClosed) return;
    try {
      await this.#requests.check(this.#requests.token, this.#closing.signal);
    } catch (error) {
      return this.#failed(error);
    }
    if (this.#isClosed) return;
    this.#isWelcomed = true;
    const expiresInMs = remainingMs(this.#requests.token);
    this.#emit({ type: "welcome", protocol: 1, session: this.transport, node: "", heartbeatMs: HEARTBEAT_MS, expiresInMs });
    this.#watch();
  }

  /** Reads the log when the feed is silent. What it has, and the feed has not delivered, says that the feed is dead. */
  #watch(): void {
    const { timers } = this.#requests;
    const silentMs = performance.now() - this.#heardAt;
    this.#silenceTimer = timers.start(() => {
      if (performance.now() - this.#heardAt < SILENCE_MS) return this.#watch();
      this.#enqueue(async () => {
        if (this.#channels.size === 0) await this.#requests.check(this.#requests.token, this.#closing.signal);
        const delivered = this.#delivered;
        for (const group of groups(this.#channels.keys())) await this.catchUp(group);
        if (this.#delivered > delivered) this.#feed.restart();
        this.alive();
        this.#watch();
      });
    }, Math.max(0, SILENCE_MS - silentMs));
  }

  #auth(token: string): void {
    if (!this.#isWelcomed) {
      this.#requests.token = token;
      return;
    }
    this.#enqueue(async () => {
      try {
        await this.#requests.check(token, this.#closing.signal);
      } catch (error) {
        const { code, message } = this.#problem(error);
        return this.#emit({ type: "error", code, message });
      }
      this.#requests.token = token;
      this.#emit({ type: "authenticated", expiresInMs: remainingMs(token) });
      this.#isStale = true;
    });
  }

  #subscribe(frame: Subscribe): void {
    const { sub, channel, where, since } = frame;
    const begin = this.#begin(channel, where === undefined ? undefined : this.#requests.json.stringify(where), since);
    begin.catch(() => {});
    this.#enqueue(async () => {
      let begins: Begin;
      try {
        begins = await begin;
      } catch (error) {
        if (isRefusal(error)) return this.#emit({ type: "error", ...this.#problem(error), sub });
        throw error;
      }
      const { position, recovered, gap } = begins;
      const known = this.#channels.get(channel);
      // As on a WebSocket: the stream of a channel cannot go back for one subscription.
      if (known && since !== undefined && position !== known.position && !reaches(position, known.position)) {
        const message = `this connection's stream of the channel is at ${known.position} and cannot go back`;
        return this.#emit({ type: "error", code: "invalid-position", message, sub });
      }
      const { subs, position: at } = known ?? { subs: new Map<string, Subscribe>(), position };
      subs.set(sub, frame);
      if (!known) this.#channels.set(channel, { position, subs });
      this.#emit({ type: "subscribed", sub, channel, position: at, ...(recovered !== undefined && { recovered }) });
      if (gap) this.#emit({ type: "gap", ...gap });
      this.#isStale = true;
      // At once: with its former filter, the feed would pass over events that this subscription wants.
      if (known && this.#commonFilter() !== this.#filter) this.#follow();
    });
  }

  /** Finds out where a subscription begins, and whether the daemon accepts it. */
  async #begin(channel: string, where: string | undefined, since: string | undefined): Promise<Begin> {
    const query = { channels: [channel], where, since: since ?? "now" };
    const { events, cursor, gap } = await this.#requests.history(query, 1, 0, this.#closing.signal);
    const recovered = since === undefined ? {} : { recovered: gap === false };
    if (gap !== false && gap[0]) return { position: gap[0].position, gap: gap[0], ...recovered };
    const position = events[0] ? before(events[0].position) : readCursor(cursor).get(channel);
    if (position === undefined) throw new TidingsError("unexpected-response", `the cursor of ${channel} cannot be read`);
    return { position, ...recovered };
  }

  #unsubscribe(sub: string): void {
    for (const [name, { subs }] of this.#channels) {
      if (!subs.delete(sub)) continue;
      if (subs.size === 0) this.#channels.delete(name);
      this.#isStale = true;
    }
    this.#emit({ type: "unsubscribed", sub });
  }

  async #sync(id: string): Promise<void> {
    try {
      for (const group of groups(this.#channels.keys())) await this.catchUp(group);
      const positions = Object.fromEntries([...this.#channels].map(([name, { position }]) => [name, position]));
      this.#emit({ type: "synced", id, positions });
    } catch (error) {
      if (!isRefusal(error) && !isUnavailable(error)) return this.#failed(error);
      this.#emit({ type: "error", ...this.#problem(error), id });
    }
  }

  /** Reads the log of these channels up to its end, and passes on what is new. */
  async catchUp(names: readonly string[]): Promise<void> {
    for (;;) {
      const where = this.#commonFilter();
      const channels = names.filter((name) => this.#channels.has(name));
      if (channels.length === 0) return;
      const asked = channels.map((name) => this.#channels.get(name));
      const since = new Map(channels.map((name) => [name, this.position(name)]));
      const page = await this.#requests.history({ channels, where, since }, LIMIT, 0, this.#closing.signal);
      // A subscription with another filter, or from further back, was added meanwhile: the answer lacks its events.
      if (where !== this.#commonFilter() || channels.some((name, index) => this.#channels.get(name) !== asked[index])) continue;
      deliverPage(page, this.#requests.json, this.#sink);
      // Otherwise the answer may end before the log does.
      const read = [...readCursor(page.cursor)].reduce((sum, [name, position]) => sum + offset(position) - offset(since.get(name) ?? position), 0);
      if (page.events.length < LIMIT && Math.abs(read) < MAX_SCANNED) return;
    }
  }

  #ping(): void {
    if (this.#channels.size > 0) return this.#feed.restart();
    this.#requests.check(this.#requests.token, this.#closing.signal).then(() => this.alive(), (error) => this.#failed(error));
  }

  // From the feed

  position(channel: string): string {
    return this.#channels.get(channel)?.position ?? "now";
  }

  event(name: string, position: string, json: string): void {
    if (this.#isFollowed(name)) this.#sink.event(name, position, json);
  }

  gap(gap: Gap): void {
    if (this.#isFollowed(gap.channel)) this.#sink.gap(gap);
  }

  reached(positions: Positions): void {
    this.#sink.reached(new Map([...positions].filter(([name]) => this.#isFollowed(name))));
  }

  alive(): void {
    this.#emit({ type: "pong" });
  }

  refused(error: TidingsError): void {
    if (error.status === 401) return this.#failed(error);
    // One of the subscriptions is not allowed any more. Asks for each, to name it.
    this.#enqueue(async () => {
      let isFound = false;
      for (const [name, { subs, position }] of this.#channels) {
        for (const [sub, { where }] of [...subs]) {
          try {
            await this.#begin(name, where === undefined ? undefined : this.#requests.json.stringify(where), position);
          } catch (cause) {
            if (!isRefusal(cause)) throw cause;
            isFound = true;
            this.#unsubscribe(sub);
            this.#emit({ type: "error", ...this.#problem(cause), sub });
          }
        }
      }
      if (!isFound) throw error;
    });
  }

  end({ reason, code, retryMs, error }: End): void {
    if (this.#isClosed) return;
    if (code === CLOSE_CODES.draining && retryMs !== undefined) this.#emit({ type: "draining", reconnectInMs: retryMs });
    if (code === undefined) this.#fire("error", { message: reason, error });
    this.#shut(code ?? 1006, reason);
  }

  #isFollowed(name: string): boolean {
    return this.#followed.has(this.#channels.get(name));
  }

  /** Passes on what is after the position of its channel. */
  readonly #sink: PageSink = {
    event: (name, position, json) => {
      const channel = this.#channels.get(name);
      if (channel === undefined || reaches(channel.position, position)) return;
      if (epoch(position) !== epoch(channel.position)) return this.#isLate();
      channel.position = position;
      this.#delivered++;
      // The frame as text: the event is not parsed twice.
      this.#fire("message", { data: `{"type":"event","position":${JSON.stringify(position)},"event":${json}}` });
    },
    gap: ({ channel: name, from, position }) => {
      const channel = this.#channels.get(name);
      if (channel === undefined || reaches(channel.position, position)) return;
      if (epoch(from) !== epoch(channel.position) && epoch(position) !== epoch(channel.position)) return this.#isLate();
      channel.position = position;
      this.#delivered++;
      this.#emit({ type: "gap", channel: name, from, position });
    },
    reached: (positions) => {
      const moved: Record<string, string> = {};
      for (const [name, position] of positions) {
        const channel = this.#channels.get(name);
        if (channel === undefined || position === channel.position || !reaches(position, channel.position)) continue;
        channel.position = moved[name] = position;
      }
      if (Object.keys(moved).length > 0) this.#emit({ type: "heartbeat", positions: moved });
    },
  };

  /** The log was lost, and this answer is from before. The next connection asks anew. */
  #isLate(): void {
    this.#shut(1006, "");
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Handles a frame behind those that came before. The feed is changed once for all of them. */
  #enqueue(task: () => Promise<void>): void {
    this.#queued++;
    const run = async () => {
      if (!this.#isClosed) await task().catch((error: unknown) => this.#failed(error));
      this.#queued--;
      if (this.#queued === 0 && this.#isStale && !this.#isClosed) this.#follow();
    };
    this.#queue = this.#queue.then(run);
  }

  /** Lets the feed follow what is subscribed. */
  #follow(): void {
    this.#isStale = false;
    this.#filter = this.#commonFilter();
    this.#followed = new Set(this.#channels.values());
    this.#feed.follow([...this.#channels.keys()], this.#filter);
  }

  /** The filter of all subscriptions, if it is the same: a request has one filter for all its channels. */
  #commonFilter(): string | undefined {
    const filters = new Set<string | undefined>();
    for (const { subs } of this.#channels.values()) {
      for (const { where } of subs.values()) filters.add(where === undefined ? undefined : this.#requests.json.stringify(where));
    }
    const [only] = filters;
    return filters.size === 1 ? only : undefined;
  }

  /** A request failed: the connection ends, and the bus makes a new one. */
  #failed(error: unknown): void {
    if (this.#isClosed) return;
    const { status, code, message } = error as Partial<TidingsError>;
    if (status === 401) {
      // A token that was accepted before has expired.
      return this.#shut(this.#isWelcomed ? CLOSE_CODES.tokenExpired : CLOSE_CODES.unauthenticated, "");
    }
    if (code === "draining") return this.#shut(CLOSE_CODES.draining, message ?? "");
    if (code === "broker-unavailable") return this.#shut(CLOSE_CODES.brokerUnavailable, message ?? "");
    this.#fire("error", { message, error });
    this.#shut(1006, "");
  }

  #shut(code: number, reason: string): void {
    this.close();
    this.#fire("close", { code, reason });
  }

  #problem(error: unknown): { code: any; message: string } {
    const { code = "network", message = String(error) } = error as Partial<TidingsError>;
    return { code, message };
  }

  #emit(frame: ServerFrame): void {
    this.#fire("message", { data: JSON.stringify(frame) });
  }

  #fire(type: string, event: unknown): void {
    if (this.#isClosed && type !== "close") return;
    this.#heardAt = performance.now();
    for (const listener of this.#listeners.get(type) ?? []) listener(event);
  }
}

/** Whether a frame of the daemon would say this: it concerns one request, and not the connection. */
function isRefusal(error: unknown): error is TidingsError {
  return isRefused(error) && error.status !== 401 || (error instanceof TidingsError && error.code === "broker-unavailable");
}
