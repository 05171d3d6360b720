// `onInvalidate`: the invalidations of the bus, for caches of other libraries. The adapters for frameworks use it.
//
// The listeners of a bus share one subscription. Each begins with what was invalidated shortly before, since a page has often
// loaded its data before it is connected, or a part of the page before it listens. Invalidations that arrive together are reported
// together, so that a cache loads an entry again once.

import { onAbort } from "./aborting.js";
import type { TidingsError } from "./errors.js";
import type { CacheInvalidate } from "./generated/events.js";
import { Listeners } from "./listeners.js";
import type { Since } from "./types.js";

const CHANNEL = "cache-invalidate";
/** How far back a subscription reaches by default, in milliseconds. */
const REACH_MS = 10_000;
/** How many invalidations are remembered for later listeners. Beyond that, a later one is told that everything may be out of date. */
const MAX_RECENT = 1_000;
/** How many writers are waited for. The invalidation of a further one is reported at once. */
const MAX_HOLDS = 1_000;

/** What is out of date. */
export interface Invalidated {
  /** Whether everything may be: invalidations were lost. The lists are empty then. */
  readonly all: boolean;
  /** Every entry that has one of these tags. */
  readonly tags: readonly string[];
  /** The entries with these keys. */
  readonly keys: readonly string[];
  /** Every entry whose key starts with one of these. */
  readonly prefixes: readonly string[];
  /**
   * For how long the old values may still be shown while they are loaded again, in milliseconds. 0: not at all. The smallest
   * of those that are reported together.
   */
  readonly staleForMs: number;
  /**
   * Everything up to here was reported. To go on after it later, as in a page that is loaded again, pass it as `since`. `undefined` as
   * long as it is not known, and with a bus without `positionOf`.
   */
  readonly position: string | undefined;
}

/** The options of `onInvalidate`. */
export interface OnInvalidateOptions {
  /**
   * Where to begin. Default: 10 s before now. Pass the position of a server's bus, if the page has data that the server loaded,
   * or `"now"`.
   */
  readonly since?: Since | undefined;
  /** Removes the listener when it is aborted. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Called if the daemon refuses the subscription, or closes the connection for good. `bus.onError` is notified, too. The listener is
   * told first that everything may be out of date, and nothing afterwards: call `onInvalidate` again once the reason is gone. Only a
   * `since` that the daemon does not accept (`invalid-position`) leaves the listener in place: it goes on with what comes now.
   */
  readonly onError?: ((error: TidingsError) => void) | undefined;
}

/** The part of a `Bus` that `onInvalidate` uses. */
export interface InvalidateBus {
  /** Subscribes to `cache-invalidate`. */
  on(
    name: typeof CHANNEL,
    options: { since?: string; onError?: (error: TidingsError) => unknown },
    handler: (data: any, event: any) => void,
  ): () => void;
  /** Reports events that are lost. */
  onGap(listener: (gap: any) => void): () => void;
  /** Resolves when all subscriptions are live. */
  ready(options: { signal: AbortSignal }): Promise<void>;
  /** Reports changes of the connection, such as its end. */
  onState?(listener: (state: any) => void): () => void;
  /** The position of an event that was received. */
  positionOf?(event: object): string | undefined;
}

/**
 * Calls `listener` with what is out of date: what `cache-invalidate` events name, or everything after a gap. A reconnect without
 * a gap reports what was invalidated meanwhile, and nothing else. Returns a function that removes the listener, as `signal` does.
 *
 * It begins with the invalidations of the last 10 s, since data may have been loaded before the connection or the listener was
 * there. If the connection takes longer than that to come up, everything is reported.
 *
 * An invalidation by `cache.mutate` is reported when its writer has ended, or when its hold is over.
 *
 * @throws {TidingsError} with the code `closed` if the bus is closed.
 */
export function onInvalidate(
  bus: InvalidateBus,
  listener: (what: Invalidated) => void,
  { since, signal, onError }: OnInvalidateOptions = {},
): () => void {
  if (signal?.aborted) return () => {};
  return feedOf(bus, since).add(listener, signal, onError);
}

/** The feed of a new listener. */
function feedOf(bus: InvalidateBus, since: Since | undefined): Feed {
  // From a position on, each listener has a feed of its own: a feed that has begun does not go back to it.
  if (since !== undefined && since !== "now") return new Feed(bus, since, () => {});
  const key = since ?? "";
  const ofBus = feeds.get(bus) ?? new Map<string, Feed>();
  feeds.set(bus, ofBus);
  let feed = ofBus.get(key);
  if (feed === undefined) {
    feed = new Feed(bus, since, () => void ofBus.delete(key));
    ofBus.set(key, feed);
  }
  return feed;
}

/** By bus, and by where they begin: the feeds that listeners share. */
const feeds = new WeakMap<InvalidateBus, Map<string, Feed>>();

/** An invalidation, or a loss (`undefined`). */
type News = CacheInvalidate | undefined;

/** Beside a listener: what tells it of a refusal, and what takes it off its signal. */
interface Member {
  readonly onError: ((error: TidingsError) => void) | undefined;
  readonly forget: () => void;
}

/** One subscription, and its listeners. */
class Feed {
  readonly #listeners = new Listeners<Invalidated>(failed);
  readonly #members = new Set<Member>();
  readonly #bus: InvalidateBus;
  /** The position of the last event. */
  #position: string | undefined;
  /** The position up to which no event is held back. */
  #settled: string | undefined;
  /** Whether a later listener is told what was reported shortly before. */
  readonly #remembers: boolean;
  /** What was reported, and when, by `performance.now()`: the oldest first. */
  #recent: { readonly at: number; readonly news: News }[] = [];
  /** What has arrived since the last report. */
  #gathered: News[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** By the id of its first event: a writer that is at work. */
  readonly #holds = new Map<string, ReturnType<typeof setTimeout>>();
  /** Ends the subscription. */
  #stop: () => void;
  readonly #end: () => void;
  #hasEnded = false;

  constructor(bus: InvalidateBus, since: Since | undefined, onEnd: () => void) {
    const ended = new AbortController();
    this.#bus = bus;
    this.#remembers = since === undefined;
    const stopGaps = bus.onGap(({ channel, position }: { channel: string; position?: string }) => {
      if (channel !== CHANNEL) return;
      this.#position = position;
      this.#gather(undefined);
    });
    try {
      this.#stop = this.#subscribe(since ?? `${REACH_MS}ms`);
    } catch (error) {
      stopGaps();
      onEnd();
      throw error;
    }
    if (since === undefined) {
      // The age counts from when the daemon gets the subscription. What came before it, but after the data was loaded, is unknown.
      const begunAt = Date.now();
      bus.ready({ signal: ended.signal }).then(() => {
        if (Date.now() - begunAt > REACH_MS) this.#gather(undefined);
      }, (_: TidingsError) => {});
    }
    const stopStates = bus.onState?.(({ status }: { status: string }) => void (status === "closed" && this.#end()));
    this.#end = () => {
      if (this.#hasEnded) return;
      this.#hasEnded = true;
      ended.abort();
      this.#stop();
      stopGaps();
      stopStates?.();
      for (const { forget } of this.#members) forget();
      clearTimeout(this.#timer);
      for (const timer of this.#holds.values()) clearTimeout(timer);
      onEnd();
    };
  }

  #subscribe(since: Since): () => void {
    const onError = (error: TidingsError) => this.#refused(error);
    return this.#bus.on(CHANNEL, { since, onError }, (data, event) => this.#received(data, event));
  }

  /** No invalidation follows any more. Returns whether the application was told the reason. */
  #refused(error: TidingsError): boolean {
    const members = [...this.#members];
    if (error.code === "invalid-position") {
      // What was invalidated since that position is unknown.
      this.#position = undefined;
      this.#gather(undefined);
      this.#stop = this.#subscribe("now");
    } else {
      this.#listeners.notify(reportOf([undefined], this.#position));
      this.#end();
    }
    for (const { onError } of members) {
      try {
        onError?.(error);
      } catch (cause) {
        failed(cause);
      }
    }
    return members.length > 0 && members.every(({ onError }) => onError !== undefined);
  }

  add(listener: (what: Invalidated) => void, signal: AbortSignal | undefined, onError: Member["onError"]): () => void {
    const remove = this.#listeners.add(listener);
    let isThere = true;
    const recent = this.#since(performance.now() - REACH_MS).map(({ news }) => news);
    const tell = () => {
      try {
        listener(reportOf(recent, this.#settled));
      } catch (cause) {
        failed(cause);
      }
    };
    const timer = recent.length > 0 ? setTimeout(tell, 0) : undefined;
    const leave = () => {
      if (!isThere) return;
      isThere = false;
      clearTimeout(timer);
      remove();
      member.forget();
      this.#members.delete(member);
      // Later, since who leaves often comes back at once: React mounts twice in development. Then nothing is subscribed again.
      setTimeout(() => {
        if (this.#listeners.size === 0) this.#end();
      }, 0);
    };
    const member: Member = { onError, forget: onAbort(signal, leave) };
    this.#members.add(member);
    return leave;
  }

  #received(data: CacheInvalidate, event: { id: string; causationid?: string }): void {
    const { id, causationid } = event;
    const { holdMs = 0 } = data;
    this.#position = this.#bus.positionOf?.(event);
    const writer = causationid ?? id;
    clearTimeout(this.#holds.get(writer));
    const isKnown = this.#holds.delete(writer);
    if (holdMs === 0 || (!isKnown && this.#holds.size >= MAX_HOLDS)) return this.#gather(data);
    // The data is about to change: what is loaded now is out of date soon. The writer says when it has ended. If it dies, the end of
    // its hold says it.
    const timer: unknown = setTimeout(() => {
      this.#holds.delete(writer);
      this.#gather(data);
    }, holdMs);
    (timer as { unref?: () => void }).unref?.();
    this.#holds.set(writer, timer as ReturnType<typeof setTimeout>);
  }

  #gather(news: News): void {
    this.#gathered.push(news);
    // At the end of the turn, once.
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const gathered = this.#gathered;
      this.#gathered = [];
      // A program that begins there must get again what is held back here.
      if (this.#holds.size === 0) this.#settled = this.#position;
      this.#remember(gathered);
      this.#listeners.notify(reportOf(gathered, this.#settled));
    }, 0);
  }

  #remember(gathered: readonly News[]): void {
    if (!this.#remembers) return;
    const at = performance.now();
    this.#recent = [...this.#since(at - REACH_MS), ...gathered.map((news) => ({ at, news }))];
    if (this.#recent.length > MAX_RECENT) this.#recent = [{ at, news: undefined }];
  }

  /** What was reported at this time or later. */
  #since(time: number) {
    return this.#recent.filter(({ at }) => at >= time);
  }
}

function failed(cause: unknown): void {
  console.error("tidings: a listener of onInvalidate failed:", cause);
}

/** What a listener is told of these, and up to which position nothing is held back. */
function reportOf(gathered: readonly News[], position: string | undefined): Invalidated {
  const all = gathered.includes(undefined);
  const known = gathered.filter((news) => news !== undefined);
  const distinct = (names: (data: CacheInvalidate) => readonly string[] | undefined) => (all ? [] : [...new Set(known.flatMap((data) => names(data) ?? []))]);
  return {
    all,
    tags: distinct(({ tags }) => tags),
    keys: distinct(({ keys }) => keys),
    prefixes: distinct(({ prefixes }) => prefixes),
    staleForMs: all ? 0 : Math.min(...known.map(({ staleForMs = 0 }) => staleForMs)),
    position,
  };
}
