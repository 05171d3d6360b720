// The bus, as a program meets it: subscribe, publish, and know how the connection is.

import { DEFAULT_BACKOFF, delayBefore } from "./backoff.js";
import { Connection, type ConnectionState } from "./connection.js";
import { TidingsError } from "./errors.js";
import type { AnyWhere } from "./filter.js";
import type { EventMap } from "./generated/events.js";
import { newId } from "./id.js";
import { Listeners } from "./listeners.js";
import { type Accepted, type Identified, Publisher, type PublishOptions } from "./publish.js";
import { EventStream } from "./stream.js";
import type { Gap } from "./subscription.js";
import { Subscriptions } from "./subscriptions.js";
import type { ConnectOptions, Draft, EventAttributes, EventName, EventOf, EventsOptions, Handler, OnOptions } from "./types.js";
import { findWebSocket } from "./websocket.js";

export class Bus<Events extends object = EventMap> {
  readonly #connection: Connection;
  readonly #subscriptions: Subscriptions;
  readonly #publisher: Publisher;
  readonly #closing = new AbortController();
  readonly #errors = new Listeners<TidingsError>((cause) => console.error("tidings: onError failed:", cause));
  readonly #states = new Listeners<ConnectionState>((cause) => this.#handlerFailed(cause));
  readonly #gaps = new Listeners<Gap<EventName<Events>>>((cause) => this.#handlerFailed(cause));
  /** Told of everything that `ready` may wait for. */
  readonly #progress = new Listeners<void>((cause) => this.#handlerFailed(cause));

  /** @internal Use {@link connect}. */
  constructor(url: string, options: ConnectOptions) {
    const bases = [url, ...(options.urls ?? [])].map(baseUrl);
    const backoff = { ...DEFAULT_BACKOFF, ...options.backoff };
    const { random = Math.random, WebSocket } = options;
    this.#subscriptions = new Subscriptions({
      send: (frame) => this.#connection.send(frame),
      restart: (reason) => this.#connection.restart(reason),
      onGap: (gap) => this.#gaps.tell(gap as Gap<EventName<Events>>),
      onError: (error, told) => this.#report(error, told),
      onSettled: () => this.#progress.tell(),
      retryDelay: (failures) => delayBefore(failures, backoff, random),
    });
    this.#publisher = new Publisher({
      urls: bases.map((base) => `${base}/v1/events`),
      fetch: options.fetch ?? ((input, init) => fetch(input, init)),
      backoff,
      random,
      closed: this.#closing.signal,
    });
    this.#connection = new Connection({
      urls: bases.map((base) => `${base.replace(/^http/, "ws")}/v1/ws`),
      webSocket: WebSocket ? () => Promise.resolve(WebSocket) : findWebSocket,
      backoff,
      random,
      onState: (state) => this.#entered(state),
      onFrame: (frame) => this.#subscriptions.handle(frame),
    });
  }

  /** How the connection is. */
  get state(): ConnectionState {
    return this.#connection.state;
  }

  /**
   * For each channel that was subscribed to, the position up to which everything was handed to handlers and loops. Kept
   * and given as `since` to the subscriptions of a later bus, nothing is left out. Positions are opaque.
   *
   * A loop has not taken everything that it was handed, and an asynchronous handler has not done it: for these, keep the
   * `positionOf` the last event that is done.
   */
  get positions(): ReadonlyMap<string, string> {
    return this.#subscriptions.positions;
  }

  /** The position of an event that this bus has delivered. */
  positionOf(event: object): string | undefined {
    return this.#subscriptions.positionOf(event);
  }

  /**
   * Calls `handler` with each event of the type `name`, from now on; with `where`, only with those that fit; with `since`,
   * first with those that came before. The answer ends the subscription.
   *
   * It goes on over reconnects: each event once, in order. What can no longer be delivered is told to `onGap`.
   *
   * A handler that throws, or whose promise is rejected, is told to `onError`, and does not keep others from their
   * events.
   */
  on<Name extends EventName<Events>>(name: Name, handler: Handler<Events, Name>): () => void;
  on<Name extends EventName<Events>>(
    name: Name,
    options: OnOptions<Events[Name]>,
    handler: Handler<Events, Name>,
  ): () => void;
  on<Name extends EventName<Events>>(
    name: Name,
    ...rest: [Handler<Events, Name>] | [OnOptions<Events[Name]>, Handler<Events, Name>]
  ): () => void {
    const [options, handler] = rest.length === 1 ? [{}, rest[0]] : rest;
    return this.#subscribe(name, options, {
      deliver: (event) => this.#call(() => handler(event.data, event)),
      end: (error) => {
        const { onError } = options;
        if (error && onError) this.#call(() => onError(error));
        return onError !== undefined;
      },
    });
  }

  /**
   * The events of the type `name` from now on, for a loop: `for await (const { data } of bus.events("order-status"))`.
   * Leaving the loop ends the subscription, and `close()` ends the loop.
   *
   * Events that come while the loop is busy wait in a buffer. If it overflows, the subscription ends, and the loop gets
   * the events that waited and then throws a {@link TidingsError} with the code `buffer-overflow`: nothing is left out
   * unsaid. It also throws if the daemon refuses the subscription, and when `signal` is aborted.
   */
  events<Name extends EventName<Events>>(
    name: Name,
    options: EventsOptions<Events[Name]> = {},
  ): AsyncIterableIterator<EventOf<Events, Name>> {
    let unsubscribe = () => {};
    const stream = new EventStream<EventOf<Events, Name>>(options.buffer ?? 1024, () => unsubscribe());
    unsubscribe = this.#subscribe(name, options, {
      deliver: (event) => stream.push(event),
      end: (error) => {
        if (error) stream.fail(error);
        else stream.end();
        return true;
      },
      abort: (reason) => stream.abort(reason),
    });
    return stream;
  }

  /**
   * Publishes an event, and answers when the daemon has taken it. What may pass (the daemon is not reached, its broker is
   * away) is tried again under the same id, which the daemon takes only once.
   *
   * @throws {TidingsError} where the event is refused: its `errors` say what is wrong with it, and where. And where it stays
   * unknown whether it was taken (`network`, `timeout`, `broker-unavailable`, …): published again with the id in `ids`, it is
   * taken once.
   */
  async publish<Name extends EventName<Events>>(
    name: Name,
    data: Events[Name],
    options: EventAttributes & PublishOptions = {},
  ): Promise<Accepted> {
    const { signal: _, attempts: __, ...attributes } = options;
    const [accepted] = await this.#publisher.post(toEvent({ ...attributes, type: name, data }), options);
    if (accepted === undefined) throw new TidingsError("unexpected-response", "the daemon accepted nothing");
    return accepted;
  }

  /** Publishes several events at once, in this order: all of them are valid, or none is taken. */
  async publishAll(events: readonly Draft<Events>[], options: PublishOptions = {}): Promise<Accepted[]> {
    return this.#publisher.post(events.map(toEvent), options);
  }

  /**
   * Waits until the connection is open and the daemon has answered for every subscription made so far: what is published
   * afterwards reaches them. Throws if the bus is closed before.
   */
  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.state.status === "closed") reject(this.state.error ?? closedError());
        else if (!this.#connection.isOpen || !this.#subscriptions.settled) return;
        else resolve();
        stop();
      };
      const stop = this.#progress.add(look);
      look();
    });
  }

  /** Calls `listener` whenever the connection changes. The answer takes it away, here and below. */
  onState(listener: (state: ConnectionState) => void): () => void {
    return this.#states.add(listener);
  }

  /**
   * Calls `listener` when events of a channel are gone, since the daemon's log did not reach back to where a subscription
   * was, or was lost. It is the moment to read afresh what the events are about. It is told in its place between the events.
   */
  onGap(listener: (gap: Gap<EventName<Events>>) => void): () => void {
    return this.#gaps.add(listener);
  }

  /**
   * Calls `listener` with whatever goes wrong: what the daemon refuses, a handler that failed. What nobody listens for goes
   * to the console.
   */
  onError(listener: (error: TidingsError) => void): () => void {
    return this.#errors.add(listener);
  }

  /** Ends all subscriptions and what is being published, and closes the connection. */
  close(): void {
    this.#connection.close();
  }

  #subscribe(
    name: string,
    { where, since, signal }: { where?: object; since?: string | undefined; signal?: AbortSignal },
    subscriber: {
      // `any`: the daemon has checked the data against the schema that the type was made of.
      deliver: (event: any) => void;
      end: (error?: TidingsError) => boolean;
      abort?: (reason: unknown) => void;
    },
  ): () => void {
    if (this.state.status === "closed") throw closedError();
    checkWhere(where);
    const remove = this.#subscriptions.add({ channel: name, where: where as AnyWhere | undefined, since }, subscriber);
    const stop = () => {
      signal?.removeEventListener("abort", abort);
      remove();
    };
    const abort = () => {
      stop();
      subscriber.abort?.(signal?.reason);
    };
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort);
    return stop;
  }

  #entered(state: ConnectionState): void {
    if (state.status === "open") this.#subscriptions.opened();
    if (state.status === "reconnecting") this.#subscriptions.lost();
    if (state.status === "closed") {
      this.#closing.abort(state.error ?? closedError());
      const told = this.#subscriptions.end(state.error);
      if (state.error) this.#report(state.error, told);
    }
    this.#states.tell(state);
    this.#progress.tell();
  }

  /** Calls what is not ours, whose failure must not become ours. */
  #call(handler: () => unknown): void {
    try {
      const result = handler();
      if (result instanceof Promise) result.catch((cause: unknown) => this.#handlerFailed(cause));
    } catch (cause) {
      this.#handlerFailed(cause);
    }
  }

  #handlerFailed(cause: unknown): void {
    this.#report(new TidingsError("handler-failed", `a handler failed: ${String(cause)}`, { cause }), false);
  }

  /** Tells an error to those who listen; to the console, if nobody has been told. */
  #report(error: TidingsError, told: boolean): void {
    if (this.#errors.size > 0) this.#errors.tell(error);
    else if (!told) console.error("tidings:", error);
  }
}

/**
 * Connects to a daemon, in the background: subscriptions can be made and events be published at once.
 *
 * `url` is where the daemon is, such as `http://127.0.0.1:7400`; `ws:` does as well. `connect<EventMap>` with the
 * `EventMap` of `tidings codegen typescript` knows the types of one's own events too.
 */
export function connect<Events extends object = EventMap>(url: string, options: ConnectOptions = {}): Bus<Events> {
  return new Bus<Events>(url, options);
}

/** The daemon's address as `http:`, without what the routes begin with. */
function baseUrl(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  if (!/^(http|ws)s?:$/.test(protocol)) throw new TypeError(`a daemon's URL begins with http: or ws:, not ${protocol}`);
  return `${protocol.replace("ws", "http")}//${host}${pathname.replace(/(\/v1\/(ws|events))?\/*$/, "")}`;
}

/** The event as it is sent. Its id is made here, once, and so is the same however often it is sent. */
function toEvent({ extensions, id = newId(), ...event }: EventAttributes & { type: string; data: unknown }): Identified {
  return { ...extensions, id, ...event };
}

/** An undefined field would vanish on the way, and with it the condition. */
function checkWhere(where: object = {}): void {
  for (const [field, condition] of Object.entries(where)) {
    if (condition === undefined) {
      throw new TidingsError("invalid-filter", `where.${field} is undefined: leave it out to match everything`);
    }
  }
}

function closedError(): TidingsError {
  return new TidingsError("closed", "the bus is closed");
}
