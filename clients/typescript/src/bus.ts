// The bus: it subscribes, publishes and reports the connection. `connect` makes one.

import { DEFAULT_BACKOFF, delayBefore } from "./backoff.js";
import { Connection } from "./connection.js";
import { type Consumer, handlerConsumer, loopConsumer } from "./consumers.js";
import { closedError, type TidingsError } from "./errors.js";
import type { EventMap } from "./generated/events.js";
import { Idle } from "./idle.js";
import type { LatestHost } from "./latest/types.js";
import type { ListenerOptions } from "./listeners.js";
import { toEvent } from "./outgoing.js";
import type { PersistedBus } from "./persistence.js";
import { Progress } from "./progress.js";
import { type FetchLike, type Published, type PublishedAll, Publisher, type PublishOptions } from "./publish.js";
import { Reports } from "./reports.js";
import type { ConnectionState, Positions, Transport } from "./state.js";
import { EventStream } from "./stream.js";
import type { Gap } from "./subscription.js";
import { type SubscribeCall, Subscribing } from "./subscribing.js";
import { Subscriptions } from "./subscriptions.js";
import { Syncs } from "./syncs.js";
import { Timers } from "./timers.js";
import { Credential } from "./token.js";
import { Transports } from "./transports.js";
import type {
  ConnectOptions, Draft, EventAttributes, EventName, EventOf, EventsOptions, EventTypes, Handler, OnOptions, TypesOptions, WatchOptions,
} from "./types.js";
import { baseUrl } from "./url.js";
import { findWebSocket } from "./websocket.js";

/**
 * The bus, as one program uses it. It connects with its first subscription, reconnects by itself, and subscriptions resume
 * without loss. Publishing is a request of its own and needs no connection.
 */
export class Bus<Events extends object = EventMap> {
  readonly #connection: Connection;
  readonly #subscriptions: Subscriptions;
  readonly #syncs: Syncs;
  readonly #publisher: Publisher;
  readonly #timers = new Timers();
  readonly #idle: Idle;
  readonly #persisted: PersistedBus | undefined;
  readonly #host: LatestHost;
  readonly #subscribing: Subscribing;
  /** What validates published events, and received ones. */
  readonly #publishing: EventTypes<object> | undefined;
  readonly #receiving: EventTypes<object> | undefined;
  readonly #closing = new AbortController();
  readonly #reports = new Reports();
  /** Notified of every change that may complete `ready`. */
  readonly #progress = new Progress();

  /** @internal Use {@link connect}. */
  constructor(url: string, options: ConnectOptions & TypesOptions<Events>) {
    const { types, validate = false } = options;
    this.#publishing = validate === true || validate === "publish" ? types : undefined;
    this.#receiving = validate === true || validate === "receive" ? types : undefined;
    const urls = [url, ...(options.urls ?? [])].map(baseUrl);
    const { minMs = DEFAULT_BACKOFF.minMs, maxMs = DEFAULT_BACKOFF.maxMs } = options.backoff ?? {};
    const backoff = { minMs, maxMs };
    const { random = Math.random, WebSocket, token, transports = ["websocket", "sse", "long-poll"], json = JSON, idleTimeoutMs = 5_000 } = options;
    const request: FetchLike = options.fetch ?? ((input, init) => fetch(input, init));
    const credential = token === undefined ? undefined : new Credential(token);
    const onGap = (gap: Gap) => this.#reports.gaps.notify(gap);
    this.#subscriptions = new Subscriptions({
      timers: this.#timers,
      json,
      send: (frame) => this.#connection.send(frame),
      restart: (reason, isWanted) => this.#connection.restart(reason, isWanted),
      onGap,
      onError: (error, notified) => this.#reports.error(error, notified),
      onSettled: () => this.#mayBeSettled(),
      retryDelay: (failures) => delayBefore(failures, backoff, random),
    });
    this.#syncs = new Syncs({
      timers: this.#timers,
      send: (frame) => this.#connection.send(frame),
      isReady: () => this.#connection.isOpen && this.#isSettled,
      silentMs: () => this.#connection.silentMs,
      restart: (reason) => this.#connection.restart(reason),
    });
    this.#publisher = new Publisher({
      urls,
      credential,
      fetch: request,
      json,
      backoff,
      random,
      retryTimeoutMs: options.retryTimeoutMs,
      closed: this.#closing.signal,
    });
    this.#connection = new Connection({
      urls,
      credential,
      transports: new Transports({
        allowed: transports,
        webSocket: WebSocket ? () => Promise.resolve(WebSocket) : findWebSocket,
        fetch: request,
        json,
        timers: this.#timers,
      }),
      json,
      timers: this.#timers,
      backoff,
      random,
      onState: (state) => this.#stateChanged(state),
      onFrame: (frame) => {
        this.#persisted?.receiving(frame);
        if (!this.#syncs.handle(frame)) this.#subscriptions.handle(frame);
        this.#persisted?.received();
      },
      onFailure: (error) => this.#reports.connectionFailed(error),
    });
    this.#idle = new Idle(this.#timers, idleTimeoutMs, () => !this.#subscriptions.isEmpty, () => this.#connection.rest());
    this.#persisted = options.persist?.attach({
      url: urls[0]!,
      subscribe: (request, subscriber) => this.#subscriptions.add(request, subscriber),
      reached: (subscriber) => this.#subscriptions.reached(subscriber),
      positionOf: (event) => this.#subscriptions.positionOf(event),
      onLoaded: () => this.#mayBeSettled(),
      onError: (error) => this.#reports.error(error, false),
      onGap,
    });
    this.#host = {
      urls,
      credential,
      fetch: request,
      json,
      timers: this.#timers,
      closed: this.#closing.signal,
      subscriptions: this.#subscriptions,
      progress: this.#progress,
      reports: this.#reports,
    };
    this.#subscribing = new Subscribing({
      host: this.#host,
      persisted: this.#persisted,
      onSubscribed: () => {
        this.#connection.open();
        this.#idle.check();
      },
      onLoaded: () => this.#mayBeSettled(),
    });
  }

  /** The state of the connection. */
  get state(): ConnectionState {
    return this.#connection.state;
  }

  /** What the connection uses while it is open: a WebSocket or, where none comes up, an event stream or long-polls. */
  get transport(): Transport | undefined {
    return this.#connection.transport;
  }

  /**
   * For each subscribed channel, the position up to which everything was passed to handlers and loops. To resume later
   * without loss, store it and pass it as `since` to a subscription of another bus. Positions are opaque.
   *
   * A loop may not have taken all of these events yet, and an asynchronous handler may not have finished. For those, store
   * the `positionOf` the last event that was processed.
   */
  get positions(): ReadonlyMap<string, string> {
    return this.#subscriptions.positions;
  }

  /** The position of an event that this bus has delivered. */
  positionOf(event: object): string | undefined {
    return this.#subscriptions.positionOf(event) ?? this.#persisted?.positionOf(event);
  }

  /**
   * Calls `handler` for each new event of the type `name`: with `where`, only for matching events; with `since`, for
   * retained events first. Returns a function that ends the subscription.
   *
   * The subscription survives reconnects. Each event arrives once and in order; `onGap` reports events that are lost.
   *
   * If a handler throws, or its promise is rejected, `onError` reports it. Other handlers still receive the event.
   *
   * @throws {TidingsError} with the code `closed` if the bus is closed, or `invalid-filter` if a condition is undefined.
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
    return this.#subscribe(name, options, this.#validated(handlerConsumer(this.#reports, name, options, handler)));
  }

  /**
   * The new events of the type `name`, for a loop: `for await (const { data } of bus.events("order-status"))`. Leaving the
   * loop ends the subscription, and `close()` ends the loop.
   *
   * Events that arrive while the loop is busy wait in a buffer. If it overflows, the subscription ends. The loop then receives
   * the buffered events and throws a {@link TidingsError} with the code `buffer-overflow`, so that no loss goes unnoticed.
   * The loop also throws if the daemon refuses the subscription, and when `signal` is aborted.
   */
  events<Name extends EventName<Events>>(
    name: Name,
    options: EventsOptions<Events[Name]> = {},
  ): AsyncIterableIterator<EventOf<Events, Name>> {
    let unsubscribe = () => {};
    const stream = new EventStream<EventOf<Events, Name>>(options.buffer ?? 1024, () => unsubscribe());
    const subscriber = this.#validated(loopConsumer(stream));
    unsubscribe = this.#subscribe(name, options, subscriber);
    return this.#persisted?.follow(subscriber, stream) ?? stream;
  }

  /**
   * The newest event of the type `name` with this `subject`, at most 2 s old. `undefined` if there is none. A request of its own, which
   * opens no connection. The daemon keeps the newest events of the types for which it was told so (`latest`).
   *
   * @throws {TidingsError} with the code `latest-not-kept` if the daemon keeps none of this type, and as the daemon answers.
   */
  async latest<Name extends EventName<Events>>(
    name: Name,
    subject: string,
    { signal }: ListenerOptions = {},
  ): Promise<EventOf<Events, Name> | undefined> {
    const { latest } = await import("./latest/index.js");
    return (await latest(this.#host, name, subject, signal)) as EventOf<Events, Name> | undefined;
  }

  /**
   * Calls `handler` with the newest event of the type `name` with this `subject`, if there is one, and then with each newer one. Returns
   * a function that ends it. For the state of one thing, such as the stock of a product; see `latest`.
   *
   * The daemon sends the events whose key field is the subject. For events with another `subject` than that, pass a `where`.
   *
   * @throws {TidingsError} as `on`.
   */
  watch<Name extends EventName<Events>>(name: Name, subject: string, handler: Handler<Events, Name>): () => void;
  watch<Name extends EventName<Events>>(
    name: Name,
    subject: string,
    options: WatchOptions<Events[Name]>,
    handler: Handler<Events, Name>,
  ): () => void;
  watch<Name extends EventName<Events>>(
    name: Name,
    subject: string,
    ...rest: [Handler<Events, Name>] | [WatchOptions<Events[Name]>, Handler<Events, Name>]
  ): () => void {
    const [options, handler] = rest.length === 1 ? [{}, rest[0]] : rest;
    const consumer = this.#validated(handlerConsumer(this.#reports, name, options, handler));
    return this.#subscribe(name, { ...options, subject, since: "latest" }, consumer);
  }

  /**
   * Publishes an event, and resolves when the daemon has accepted it. After a transient failure (a lost response, a daemon
   * whose broker is unavailable) it retries with the same id, which the daemon takes only once. `retryTimeoutMs` says for how
   * long; a daemon that cannot be reached fails at once by default.
   *
   * @throws {TidingsError} if the daemon refuses the event; `errors` lists every mistake. Also if it is unknown whether the
   * event was published (`network`, `timeout`, `broker-unavailable`, …); publishing it again with the id in `ids` is safe.
   */
  async publish<Name extends EventName<Events>>(
    name: Name,
    data: Events[Name],
    options: EventAttributes & PublishOptions = {},
  ): Promise<Published> {
    const { signal: _, retryTimeoutMs: __, ...attributes } = options;
    if (this.#publishing) await this.#publishing.publishing([{ type: name, data }], false);
    return this.#publisher.postOne(toEvent({ ...attributes, type: name, data }), options);
  }

  /** Publishes up to 1,000 events in one request, in this order. If one of them is refused, none is published. */
  async publishAll(events: readonly Draft<Events>[], options: PublishOptions = {}): Promise<PublishedAll> {
    if (this.#publishing) await this.#publishing.publishing(events, true);
    return this.#publisher.post(events.map(toEvent), options);
  }

  /**
   * Connects, if no subscription has done so, and waits until the daemon has answered every subscription made so far. They
   * receive what is published afterwards. Waits for as long as the daemon cannot be reached, which `onError` reports.
   *
   * Rejects if the bus is closed before, and when `signal` is aborted.
   */
  ready({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#connection.open();
    const isReady = () => {
      if (this.state.status === "closed") throw this.state.error ?? closedError();
      return this.#connection.isOpen && this.#isSettled;
    };
    return this.#idle.during(this.#progress.until(isReady, signal));
  }

  /**
   * Waits until everything that the daemon's log has at this moment, of the subscribed channels, has been delivered. Resolves with
   * the position that each channel has reached then. So a program can prove that it has missed nothing.
   *
   * Connects, if no subscription has done so. Waits for as long as the daemon cannot be reached, as `ready` does, and asks again
   * after a reconnect: bound it by `signal`. Calls at the same moment share one question.
   *
   * @throws {TidingsError} if the daemon cannot ask its log (`broker-unavailable`, within 3 s), if there are too many questions
   * (`rate-limited`), if it is a version without this (`unknown-frame`), or if the bus is closed.
   */
  sync({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<Positions> {
    if (this.state.status === "closed") return Promise.reject(this.state.error ?? closedError());
    this.#connection.open();
    return this.#idle.during(this.#syncs.add(signal));
  }

  /** Calls `listener` when the state of the connection changes. Returns a function that removes the listener, as `signal` does. */
  onState(listener: (state: ConnectionState) => void, options?: ListenerOptions): () => void {
    return this.#reports.states.add(listener, options);
  }

  /**
   * Calls `listener` when events of a channel are lost: the daemon's log did not reach back to the position of a
   * subscription, or the log was lost. Reload then what the events are about. The call is in order with the events.
   * Returns a function that removes the listener, as `signal` does.
   */
  onGap(listener: (gap: Gap<EventName<Events>>) => void, options?: ListenerOptions): () => void {
    return this.#reports.gaps.add(listener as (gap: Gap) => void, options);
  }

  /**
   * Calls `listener` for every error: a subscription that the daemon refuses, a handler that fails, a connection that does
   * not come up (once for each reason, while the bus goes on trying). Without a listener, errors go to the console. Returns a
   * function that removes the listener, as `signal` does.
   */
  onError(listener: (error: TidingsError) => void, options?: ListenerOptions): () => void {
    return this.#reports.errors.add(listener, options);
  }

  /**
   * Tries to connect at once if the bus waits for its next attempt, and finds out within 5 s whether an open connection is alive. In
   * a page, the bus does so by itself. Call it where the program learns otherwise that it woke up, as by `AppState` of React Native.
   */
  wake(): void {
    this.#connection.wake();
  }

  /**
   * From now on, this bus does not keep a process of Node alive: neither its connection nor its timers. For a program whose work is
   * something else, such as a server. Elsewhere it does nothing.
   */
  unref(): void {
    this.#timers.unref();
    this.#connection.unref();
  }

  /** Ends all subscriptions and pending publications, and closes the connection. */
  close(): void {
    this.#connection.close();
  }

  #subscribe(name: string, call: SubscribeCall, consumer: Consumer): () => void {
    if (this.state.status === "closed") throw closedError();
    return this.#subscribing.subscribe(name, call, consumer);
  }

  /** The subscriber, but without events that do not match their schemas, if the program asked for that. */
  #validated(subscriber: Consumer): Consumer {
    return this.#receiving?.receiving(subscriber, (error) => this.#reports.error(error, false)) ?? subscriber;
  }

  /** Whether every subscription was requested, and the daemon has answered. */
  get #isSettled(): boolean {
    return this.#subscriptions.settled && !this.#subscribing.isLoading;
  }

  #mayBeSettled(): void {
    this.#syncs.flush();
    this.#progress.changed();
    this.#idle.check();
  }

  #stateChanged(state: ConnectionState): void {
    if (state.status === "open") {
      this.#syncs.connectionLost();
      this.#subscriptions.connectionOpened();
      this.#syncs.flush();
    }
    if (state.status === "reconnecting" || state.status === "idle") {
      this.#syncs.connectionLost();
      this.#subscriptions.connectionLost();
    }
    if (state.status === "closed") {
      this.#idle.stop();
      this.#syncs.end(state.error ?? closedError());
      this.#closing.abort(state.error ?? closedError());
      this.#persisted?.close(state.error);
      const notified = this.#subscriptions.end(state.error);
      if (state.error) this.#reports.error(state.error, notified);
    }
    this.#reports.states.notify(state);
    this.#progress.changed();
  }
}
