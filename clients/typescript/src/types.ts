// What one says to a bus: its options, its events by name, and what is published.

import type { Backoff } from "./backoff.js";
import type { TidingsError } from "./errors.js";
import type { Where } from "./filter.js";
import type { CloudEvent } from "./generated/events.js";
import type { FetchLike } from "./publish.js";
import type { WebSocketConstructor } from "./websocket.js";

export interface ConnectOptions {
  /** Other nodes of the same cluster. After a failure the next one is tried. */
  readonly urls?: readonly string[];
  /** The WebSocket to use. Default: the runtime's own or, where it has none (Node 20), that of the package `ws`. */
  readonly WebSocket?: WebSocketConstructor;
  /** The `fetch` to publish with. Default: the runtime's own. */
  readonly fetch?: FetchLike;
  /** How long to wait before connecting, or publishing, again. Default: 250 ms to 30 s. */
  readonly backoff?: Partial<Backoff>;
  /** Where the jitter comes from: a number from 0 up to 1. Default: `Math.random`. */
  readonly random?: () => number;
}

/** The names of the events in a map of events. */
export type EventName<Events> = keyof Events & string;

/** The event of that name. */
export type EventOf<Events, Name extends EventName<Events>> = CloudEvent<Name, Events[Name]>;

/** What is called with each event: its data, and the whole event. */
export type Handler<Events, Name extends EventName<Events>> = (
  data: Events[Name],
  event: EventOf<Events, Name>,
) => unknown;

export interface SubscribeOptions<Data> {
  /** Only events whose data is so. */
  readonly where?: Where<Data>;
  /**
   * From where, as far back as the log reaches: a position (of `bus.positions` or `bus.positionOf`), a cursor of the
   * daemon, `"start"`, a time (`"2026-11-21T10:00:00Z"`) or an age (`"10m"`). Default: `"now"`.
   */
  readonly since?: string | undefined;
  /** Ends the subscription. */
  readonly signal?: AbortSignal;
}

export interface OnOptions<Data> extends SubscribeOptions<Data> {
  /** The daemon refused the subscription, or closed the connection for good. The listeners of `bus.onError` are told too. */
  readonly onError?: (error: TidingsError) => void;
}

export interface EventsOptions<Data> extends SubscribeOptions<Data> {
  /** How many events may wait for the loop. Default 1,024. */
  readonly buffer?: number;
}

/** What a publisher may say of an event besides its type and data. */
export interface EventAttributes {
  /** Default: a new UUIDv7. An id that the daemon has seen is not delivered again. */
  readonly id?: string;
  readonly source?: string;
  readonly subject?: string;
  readonly time?: string | Date;
  /** The id of the event that caused this one. */
  readonly causationid?: string;
  readonly traceparent?: string;
  readonly tracestate?: string;
  /** Other extension attributes: names of lowercase letters and digits. */
  readonly extensions?: { readonly [name: string]: string | number | boolean };
}

/** An event to publish, of any of the types. */
export type Draft<Events> = {
  [Name in EventName<Events>]: EventAttributes & { readonly type: Name; readonly data: Events[Name] };
}[EventName<Events>];
