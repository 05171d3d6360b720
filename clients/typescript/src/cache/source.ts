// What the cache needs of the bus: invalidations and losses in order, a proof, and a way to publish.
//
// A test drives the cache with a source of its own. `busSource` makes one of a bus.

import type { TidingsError } from "../errors.js";

/** The channel of invalidations. */
export const CHANNEL = "cache-invalidate";

/** What an invalidation names, and how: the data of a `cache-invalidate` event. */
export interface Invalidation {
  readonly tags?: readonly string[] | undefined;
  readonly keys?: readonly string[] | undefined;
  readonly prefixes?: readonly string[] | undefined;
  readonly reason?: string | undefined;
  /** For how long an old value may still be served while it is loaded again, in milliseconds. Absent or 0: not at all. */
  readonly staleForMs?: number | undefined;
  /** For how long loaded values are not stored, in milliseconds. */
  readonly holdMs?: number | undefined;
}

/** A delivered invalidation. */
export interface DeliveredInvalidation {
  readonly position: string;
  readonly id: string;
  /** The id of the event to which this one belongs: the hold of a `mutate`. */
  readonly cause: string | undefined;
  readonly data: Invalidation;
}

/** What a source reports, in the order of the channel. */
export interface SourceHandler {
  invalidated(invalidation: DeliveredInvalidation): void;
  /** Events up to and including `position` are lost, or the log is a new one. */
  lost(position: string): void;
  /** The daemon refused the subscription, or the bus was closed: nothing will follow. */
  failed(error: TidingsError): void;
}

export interface PublishedInvalidation {
  readonly id: string;
  readonly cause?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly retryTimeoutMs?: number | undefined;
}

/** The bus, as the cache sees it. */
export interface Source {
  /** Begins to report: everything that the log still has if `replay`, else what is new. Returns a function that ends it. */
  start(handler: SourceHandler, replay: boolean): () => void;
  /** Whether a `sync` can be answered soon. */
  readonly isConnected: boolean;
  /**
   * Resolves with the position of the channel when everything that the log had at the time of this call has been reported.
   * `undefined` if that is not known.
   */
  sync(): Promise<string | undefined>;
  /** Publishes an invalidation, and resolves with its position. */
  publish(data: Invalidation, options: PublishedInvalidation): Promise<string>;
}

/** The part of a `Bus` that the cache uses. */
export interface CacheBus {
  readonly state: { readonly status: string };
  /** Subscribes a handler. */
  on(name: typeof CHANNEL, options: { since?: string; onError?: (error: TidingsError) => void }, handler: (data: any, event: any) => void): () => void;
  /** Adds a listener of gaps. */
  onGap(listener: (gap: any) => void): () => void;
  /** The position of a delivered event. */
  positionOf(event: object): string | undefined;
  /** Resolves when everything was delivered. */
  sync(): Promise<ReadonlyMap<string, string>>;
  /** Publishes an invalidation. */
  publish(
    name: typeof CHANNEL,
    data: any,
    options: { id?: string; causationid?: string | undefined; signal?: AbortSignal | undefined; retryTimeoutMs?: number | undefined },
  ): Promise<{ readonly position: string }>;
}

/** The source that a bus is. */
export function busSource(bus: CacheBus): Source {
  return {
    start(handler, replay) {
      // First, since a gap can be reported as soon as there is a subscription.
      const stopGaps = bus.onGap(({ channel, position }: { channel: string; position: string }) => {
        if (channel === CHANNEL) handler.lost(position);
      });
      // Never where an earlier page was, as `persist` would: this cache is empty, so there is nothing to invalidate.
      const options = { since: replay ? "start" : "now", onError: (error: TidingsError) => handler.failed(error) };
      const stop = bus.on(CHANNEL, options, (data: Invalidation, event: { id: string; causationid?: string }) => {
        const position = bus.positionOf(event);
        if (position !== undefined) handler.invalidated({ position, id: event.id, cause: event.causationid, data });
      });
      return () => (stop(), stopGaps());
    },
    get isConnected() {
      return bus.state.status === "open" || bus.state.status === "draining";
    },
    sync: () => bus.sync().then((positions) => positions.get(CHANNEL)),
    publish: (data, { id, cause, signal, retryTimeoutMs }) =>
      bus.publish(CHANNEL, data, { id, causationid: cause, signal, retryTimeoutMs }).then(({ position }) => position),
  };
}
