// What receives the events of a subscription: a handler of the application, or its loop.

import type { Reports } from "./reports.js";
import type { EventStream } from "./stream.js";
import type { Subscriber } from "./subscription.js";
import type { OnOptions } from "./types.js";

/** A handler or a loop. */
export interface Consumer extends Subscriber {
  // `any`: the daemon has validated the data against the schema from which the type was generated.
  deliver(event: any): unknown;
  restore?(events: readonly any[]): void;
  /** The signal of the subscription was aborted. */
  abort?(reason: unknown): void;
}

/** Calls a handler for each event. What it throws is reported. */
export function handlerConsumer(
  reports: Reports,
  name: string,
  { onError }: Pick<OnOptions<any>, "onError">,
  handler: (data: any, event: any) => unknown,
): Consumer {
  return {
    deliver: (event) => reports.call(name, () => handler(event.data, event)),
    // An adapter that has nobody to tell returns false.
    end: (error) => onError !== undefined && (error === undefined || reports.call(name, () => onError(error) as unknown) !== false),
  };
}

/** Passes each event to a loop. */
export function loopConsumer(stream: EventStream<any>): Consumer {
  return {
    deliver: (event) => stream.push(event),
    restore: (events) => stream.preload(events),
    end: (error) => {
      if (error) stream.fail(error);
      else stream.end();
      return true;
    },
    abort: (reason) => stream.abort(reason),
  };
}
