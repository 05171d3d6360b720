// The types of the public API: options of the bus, of subscriptions and of published events.

import type { Backoff } from "./backoff.js";
import type { TidingsError } from "./errors.js";
import type { Where } from "./filter.js";
import type { CloudEvent } from "./generated/events.js";
import type { JsonCodec } from "./json.js";
import type { Persistence } from "./persistence.js";
import type { FetchLike } from "./publish.js";
import type { Transport } from "./state.js";
import type { Subscriber } from "./subscription.js";
import type { Token } from "./token.js";
import type { WebSocketConstructor } from "./websocket.js";

/** The options of `connect`. */
export interface ConnectOptions {
  /** The URLs of other nodes of the same cluster. After a failure, the client tries the next one. */
  readonly urls?: readonly string[] | undefined;
  /**
   * The token or API key to authenticate with, or a function that gets a token. Default: none.
   *
   * The function is called before the first request, before its token expires, and after the daemon has refused it. If it throws
   * or rejects, it is called again after a delay. If it returns nothing or an empty text, the bus closes with the error
   * `unauthenticated`: it never goes on without a token.
   */
  readonly token?: Token | undefined;
  /** The WebSocket to use. Default: that of the runtime or, if it has none (Node 20), that of the package `ws`. */
  readonly WebSocket?: WebSocketConstructor | undefined;
  /** The `fetch` to publish with, and to receive events with where no WebSocket comes up. Default: that of the runtime. */
  readonly fetch?: FetchLike | undefined;
  /**
   * How events may reach the bus. Default: all. A WebSocket comes first. Where none comes up twice, the bus goes on over an event
   * stream (`"sse"`) and, if a proxy holds that back, over requests that wait (`"long-poll"`). It tries a WebSocket again about every
   * five minutes, and when the page wakes up.
   */
  readonly transports?: readonly Transport[] | undefined;
  /**
   * How long the connection stays open after the last subscription has ended, in milliseconds. Default: 5,000. `Infinity`: until
   * `close()`.
   */
  readonly idleTimeoutMs?: number | undefined;
  /** The bounds of the delay before connecting or publishing again. Default: 250 ms to 30 s. */
  readonly backoff?: { readonly [Bound in keyof Backoff]?: Backoff[Bound] | undefined } | undefined;
  /**
   * What reads and writes frames, events and filters. Default: `JSON`. Pass another one where own types have numbers that a double
   * does not hold, such as integers beyond 2^53: `lossless-json` keeps them. Filters compare numbers that are objects by their
   * `valueOf()`. The option `persist` stores what `JSON` makes of an event.
   */
  readonly json?: JsonCodec | undefined;
  /** How long `publish` and `publishAll` retry; see `PublishOptions`. */
  readonly retryTimeoutMs?: number | undefined;
  /**
   * Keeps the newest events and the positions across reloads of the page: `localStoragePersistence()` or `indexedDbPersistence()` of
   * `tidings-client/persist`. Handlers then get the stored events first. A subscription with `since` is not kept. Default: none.
   */
  readonly persist?: Persistence | undefined;
  /** The source of the jitter, which returns a number from 0 up to 1. Default: `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** The options of `connect` for own event types that the program defines by schemas. */
export interface TypesOptions<Events extends object> {
  /** The own event types, made by `defineTypes` of `tidings-client/schema`. The bus is typed by them. */
  readonly types?: EventTypes<Events> | undefined;
  /**
   * What to validate with `types` in this program, too: what it publishes, what it receives, or both with `true`. An event that does
   * not match is refused with `invalid-event`, or reported to `onError` instead of being delivered. Default: nothing, since the daemon
   * validates every event.
   */
  readonly validate?: boolean | "publish" | "receive" | undefined;
}

/** Own event types, and their validation. */
export interface EventTypes<Events extends object> {
  /** Only a type: the data of each event type. */
  readonly "~events"?: Events | undefined;
  /** @internal Rejects with `invalid-event` if the data of an event does not match. */
  publishing(events: readonly { readonly type: string; readonly data: unknown }[], isBatch: boolean): Promise<void>;
  /** @internal The subscriber, but without events that do not match. */
  receiving<Receiver extends Subscriber>(subscriber: Receiver, onError: (error: TidingsError) => void): Receiver;
}

/** The names of the events in a map of events. */
export type EventName<Events> = keyof Events & string;

/** The event with this name. */
export type EventOf<Events, Name extends EventName<Events>> = CloudEvent<Name, Events[Name]>;

/** A function that is called for each event, with its data and with the whole event. */
export type Handler<Events, Name extends EventName<Events>> = (
  data: Events[Name],
  event: EventOf<Events, Name>,
) => unknown;

/**
 * Where a subscription begins, as far back as the log reaches: `"now"`, `"start"` (the oldest event in the log), a position
 * (of `bus.positions` or `bus.positionOf`), a cursor of the daemon, a time (`"2026-11-21T10:00:00Z"`) or an age (`"10m"`).
 *
 * Or `"latest"`: first the newest event of each subject, then new ones, without loss or repetition between the two. The daemon keeps
 * the newest events of the types for which it was told so.
 */
export type Since = "now" | "start" | "latest" | (string & {});

/** The options of a subscription. */
export interface SubscribeOptions<Data> {
  /** Only events whose data matches this filter. */
  readonly where?: Where<Data> | undefined;
  /** Where to begin. Default: `"now"`. */
  readonly since?: Since | undefined;
  /** Ends the subscription when it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** The options of `bus.on`. */
export interface OnOptions<Data> extends SubscribeOptions<Data> {
  /** Called if the daemon refuses the subscription, or closes the connection for good. `bus.onError` is notified, too. */
  readonly onError?: ((error: TidingsError) => void) | undefined;
}

/** The options of `bus.watch`. */
export type WatchOptions<Data> = Omit<OnOptions<Data>, "since">;

/** The options of `bus.events`. */
export interface EventsOptions<Data> extends SubscribeOptions<Data> {
  /** How many events may wait for the loop. Default: 1,024. */
  readonly buffer?: number | undefined;
}

/** The optional attributes of a published event, beside its type and data. */
export interface EventAttributes {
  /** Default: a new UUIDv7. The daemon takes an id once within its deduplication window. */
  readonly id?: string | undefined;
  readonly source?: string | undefined;
  readonly subject?: string | undefined;
  readonly time?: string | Date | undefined;
  /** The id of the event that caused this one. */
  readonly causationid?: string | undefined;
  readonly traceparent?: string | undefined;
  readonly tracestate?: string | undefined;
  /** Other extension attributes. Their names consist of lowercase letters and digits. */
  readonly extensions?: { readonly [name: string]: string | number | boolean | undefined } | undefined;
}

/** An event of any type, to publish with `bus.publishAll`. */
export type Draft<Events> = {
  [Name in EventName<Events>]: EventAttributes & { readonly type: Name; readonly data: Events[Name] };
}[EventName<Events>];
