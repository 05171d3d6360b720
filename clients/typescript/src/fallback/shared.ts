// One event stream for all tabs of an origin. A browser opens only six connections of HTTP/1.1 to a server, and each stream is one:
// without this, the seventh tab would wait for ever.
//
// The tab that holds a lock (Web Locks) leads: it follows the channels of all tabs, and passes on what arrives (BroadcastChannel).
// When it goes, the browser gives the lock to the next tab. A tab that joins, or finds a hole, reads the log up to where it is
// passed on, so a change of the leader loses nothing. Where no leader answers, a tab has a stream of its own.
//
// What the leader passes on is whole only for the tabs whose filters and channels its stream has. So a tab takes nothing before the
// leader has answered its last request.
//
// Only tabs with the same rights share: the name of the lock has them.

import type { TidingsError } from "../errors.js";
import { reaches } from "../position.js";
import type { Gap } from "../subscription.js";
import type { Timer } from "../timers.js";
import { type End, type Feed, type FeedHandler, OwnFeed, type Path } from "./feed.js";
import { claims } from "./jwt.js";
import type { Positions, Requests } from "./requests.js";

/** How long a leader may take to answer, in milliseconds. */
const ANSWER_MS = 5_000;
/** How many messages wait while a tab reads the log. */
const MAX_WAITING = 10_000;

type Message =
  /** A tab wants these channels, from these positions on. `want` counts its requests. */
  | { type: "want"; tab: string; want: number; channels: [name: string, position: string][]; where: string | undefined }
  | { type: "leave"; tab: string }
  /** There is a new leader: each tab tells it what it wants. */
  | { type: "leader" }
  /** From these positions on, everything that this request of the tab wants is passed on. */
  | { type: "joined"; tab: string; want: number; positions: [name: string, position: string][] }
  /** `after` is the position of the message before. */
  | { type: "event"; name: string; after: string; position: string; json: string }
  | { type: "gap"; gap: Gap }
  | { type: "reached"; positions: [name: string, position: string][] }
  | { type: "alive" };

/** What a tab wants. */
interface Wants {
  readonly channels: readonly string[];
  readonly where: string | undefined;
}

/** Whether tabs can share here: in a page of a secure context. */
export function canShare(): boolean {
  const { document, navigator, BroadcastChannel, crypto } = globalThis as Partial<typeof globalThis>;
  return Boolean(document && navigator?.locks && BroadcastChannel && crypto?.subtle);
}

/** The name under which tabs with the rights of this token share a stream. It does not have the token. */
export async function shareName(base: string, token: string | undefined): Promise<string> {
  // Each tab has a token of its own, with the same rights and other times.
  const { exp: _, iat: __, nbf: ___, jti: ____, ...rights } = claims(token) ?? { token };
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(rights)));
  const hash = Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `tidings ${base} ${hash}`;
}

/** The feed of a tab: leads, follows another tab, or is alone. */
export class SharedFeed implements Feed, FeedHandler {
  readonly #base: string;
  readonly #requests: Requests;
  /** The connection of this tab. */
  readonly #handler: FeedHandler;
  readonly #own: OwnFeed;
  readonly #tab = crypto.randomUUID();
  readonly #closing = new AbortController();
  #mine: Wants = { channels: [], where: undefined };
  #name: string | undefined;
  #messages: BroadcastChannel | undefined;
  #role: "none" | "leader" | "follower" | "alone" = "none";
  #answerTimer: Timer | undefined;
  /** As a follower: the number of its requests, and whether the leader has answered the last one. */
  #wants = 0;
  #isJoined = false;
  /** As the leader: what the other tabs want, and how far each channel is. */
  readonly #tabs = new Map<string, Wants>();
  readonly #positions = new Map<string, string>();
  /** As a follower: by channel, the leader's messages that this tab handles once it has read the log. */
  readonly #waiting = new Map<string, (() => void)[]>();

  constructor(base: string, requests: Requests, path: Path, handler: FeedHandler) {
    this.#base = base;
    this.#requests = requests;
    this.#handler = handler;
    this.#own = new OwnFeed(requests, path, this);
  }

  follow(channels: readonly string[], where: string | undefined): void {
    this.#mine = { channels, where };
    // What still arrives has the former filter: it would move the positions past events of the new one.
    this.#own.close();
    this.#isJoined = false;
    void this.#join().catch((error: unknown) => this.#handler.end({ reason: String(error), error }));
  }

  restart(): void {
    if (this.#role === "follower") this.#want();
    else this.#own.restart();
  }

  close(): void {
    this.#closing.abort();
    this.#requests.timers.stop(this.#answerTimer);
    this.#own.close();
    this.#post({ type: "leave", tab: this.#tab });
    this.#messages?.close();
    this.#messages = undefined;
  }

  async #join(): Promise<void> {
    const name = await shareName(this.#base, this.#requests.token);
    if (this.#isClosed) return;
    if (this.#name !== undefined && this.#name !== name) return this.#handler.end({ reason: "the rights of the token have changed" });
    if (this.#name === undefined) {
      this.#name = name;
      this.#messages = new BroadcastChannel(name);
      this.#messages.onmessage = ({ data }: { data: Message }) => this.#receive(data);
      const lead = () => {
        if (this.#isClosed || this.#role === "alone") return;
        this.#lead();
        // The lock is held until the tab goes, or its connection ends.
        return new Promise<void>((resolve) => this.#closing.signal.addEventListener("abort", () => resolve()));
      };
      // Rejects when the tab is closed before it leads.
      navigator.locks.request(name, { signal: this.#closing.signal }, lead).catch(() => {});
    }
    if (this.#role === "leader") this.#followAll();
    else if (this.#role === "alone") this.#own.follow(this.#mine.channels, this.#mine.where);
    else this.#want();
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  #post(message: Message): void {
    this.#messages?.postMessage(message);
  }

  #receive(message: Message): void {
    if (this.#isClosed) return;
    if (this.#role === "leader") return this.#heard(message);
    if (this.#role === "alone") return;
    if (message.type === "leader") this.#want();
    else if (message.type === "joined" && message.tab === this.#tab && message.want === this.#wants) this.#joined(message.positions);
    else if (this.#role === "follower") this.#passOn(message);
  }

  // As the leader

  #lead(): void {
    this.#requests.timers.stop(this.#answerTimer);
    this.#role = "leader";
    this.#waiting.clear();
    this.#followAll();
    this.#post({ type: "leader" });
  }

  #heard(message: Message): void {
    if (message.type === "leave" && this.#tabs.delete(message.tab)) this.#followAll();
    if (message.type !== "want") return;
    const { tab, want, channels, where } = message;
    const before = JSON.stringify([...this.#tabs.values()]);
    this.#tabs.set(tab, { channels: channels.map(([name]) => name), where });
    for (const [name, position] of channels) if (!this.#positions.has(name)) this.#positions.set(name, position);
    if (before !== JSON.stringify([...this.#tabs.values()])) this.#followAll();
    this.#post({ type: "joined", tab, want, positions: channels.map(([name]) => [name, this.#positions.get(name)!]) });
  }

  /** Follows what all tabs want. */
  #followAll(): void {
    const all = [this.#mine, ...this.#tabs.values()].filter(({ channels }) => channels.length > 0);
    const channels = new Set(all.flatMap(({ channels }) => channels));
    for (const name of this.#positions.keys()) if (!channels.has(name)) this.#positions.delete(name);
    for (const name of this.#mine.channels) {
      const mine = this.#handler.position(name);
      const all = this.#positions.get(name);
      if (all === undefined) this.#positions.set(name, mine);
      // The others are further: this tab reads what is between.
      else if (!reaches(mine, all)) void this.#read([name]);
    }
    const filters = new Set(all.map(({ where }) => where));
    this.#own.follow([...channels], filters.size === 1 ? [...filters][0] : undefined);
  }

  // From the stream of this tab, as the leader or alone

  position(channel: string): string {
    return this.#role === "leader" ? this.#positions.get(channel)! : this.#handler.position(channel);
  }

  event(name: string, position: string, json: string): void {
    if (this.#role === "leader") {
      const after = this.#positions.get(name);
      if (after === undefined || reaches(after, position)) return;
      this.#positions.set(name, position);
      this.#post({ type: "event", name, after, position, json });
    }
    if (this.#isMine(name)) this.#deliver(name, () => this.#handler.event(name, position, json));
  }

  gap(gap: Gap): void {
    if (this.#role === "leader") {
      this.#positions.set(gap.channel, gap.position);
      this.#post({ type: "gap", gap });
    }
    if (this.#isMine(gap.channel)) this.#deliver(gap.channel, () => this.#handler.gap(gap));
  }

  reached(positions: Positions): void {
    if (this.#role === "leader") {
      for (const [name, position] of positions) if (this.#positions.has(name)) this.#positions.set(name, position);
      this.#post({ type: "reached", positions: [...positions] });
    }
    this.#reached([...positions]);
  }

  alive(): void {
    if (this.#role === "leader") this.#post({ type: "alive" });
    this.#handler.alive();
  }

  refused(error: TidingsError): void {
    this.#handler.refused(error);
  }

  end(end: End): void {
    this.#handler.end(end);
  }

  catchUp(channels: readonly string[]): Promise<void> {
    return this.#handler.catchUp(channels);
  }

  // As a follower

  /** Tells the leader what this tab wants. */
  #want(): void {
    const { channels, where } = this.#mine;
    this.#role = "follower";
    this.#isJoined = false;
    this.#post({ type: "want", tab: this.#tab, want: ++this.#wants, channels: channels.map((name) => [name, this.#handler.position(name)]), where });
    this.#answerTimer ??= this.#requests.timers.start(() => {
      this.#role = "alone";
      this.#waiting.clear();
      this.#own.follow(this.#mine.channels, this.#mine.where);
    }, ANSWER_MS);
  }

  #joined(positions: readonly [name: string, position: string][]): void {
    this.#requests.timers.stop(this.#answerTimer);
    this.#answerTimer = undefined;
    this.#isJoined = true;
    this.#handler.alive();
    const behind = positions.filter(([name, position]) => !reaches(this.#handler.position(name), position));
    if (behind.length > 0) void this.#read(behind.map(([name]) => name));
  }

  #passOn(message: Message): void {
    if (message.type === "alive") return this.#handler.alive();
    if (!this.#isJoined) return;
    if (message.type === "event") {
      const { name, after, position, json } = message;
      if (!this.#isMine(name)) return;
      // Something was not passed on.
      if (!this.#waiting.has(name) && !reaches(this.#handler.position(name), after)) void this.#read([name]);
      this.#deliver(name, () => this.#handler.event(name, position, json));
    } else if (message.type === "gap") {
      if (this.#isMine(message.gap.channel)) this.#deliver(message.gap.channel, () => this.#handler.gap(message.gap));
    } else if (message.type === "reached") {
      this.#reached(message.positions);
    }
  }

  /** Whether this tab wants the channel. The stream of a leader has those of the other tabs, too. */
  #isMine(name: string): boolean {
    return this.#mine.channels.includes(name);
  }

  #reached(positions: readonly [name: string, position: string][]): void {
    this.#handler.reached(new Map(positions.filter(([name]) => this.#isMine(name) && !this.#waiting.has(name))));
  }

  /** Reads the log of these channels up to its end. What is passed on meanwhile waits. */
  async #read(names: readonly string[]): Promise<void> {
    const own = names.filter((name) => !this.#waiting.has(name));
    const waiting: (() => void)[] = [];
    for (const name of own) this.#waiting.set(name, waiting);
    try {
      await this.#handler.catchUp(own);
    } catch (error) {
      return this.#isClosed ? undefined : this.#handler.end({ reason: String(error), error });
    }
    for (const name of own) if (this.#waiting.get(name) === waiting) this.#waiting.delete(name);
    waiting.forEach((deliver) => deliver());
  }

  #deliver(name: string, deliver: () => void): void {
    const waiting = this.#waiting.get(name);
    if (waiting === undefined) return deliver();
    if (waiting.length < MAX_WAITING) waiting.push(deliver);
    else this.#handler.end({ reason: "more events than can wait while the log is read" });
  }
}
