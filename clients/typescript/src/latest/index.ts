// The newest events: of one subject, and as the beginning of a subscription. Loaded when a program first asks for them.
//
// A subscription that begins with them is one to new events. Once the daemon has confirmed it, the newest events are read over HTTP,
// while what is new waits. So nothing is lost between the two, and what both have is delivered once.

import { onAbort } from "../aborting.js";
import type { TidingsError } from "../errors.js";
import type { CloudEvent } from "../generated/events.js";
import { reaches } from "../position.js";
import type { SubscribeRequest, Subscriber } from "../subscription.js";
import type { Timer } from "../timers.js";
import { filterOf, isTransient, type Placed, placeOf, readList, readOne } from "./reader.js";
import type { LatestHost } from "./types.js";

/** How many new events may wait. If there are more, what they changed is read again. */
const MAX_WAITING = 1_000;
/** The delay after a failure, in milliseconds, which doubles up to the second. */
const RETRY_MS = { first: 500, last: 30_000 };
/** The daemon's answer for one subject may be 2 s old, if another node gives it. So it is read again after this time, in milliseconds. */
const SECOND_LOOK_MS = 2_500;

/** The newest event of a subject. `undefined` if there is none. */
export async function latest(host: LatestHost, type: string, subject: string, signal: AbortSignal | undefined): Promise<CloudEvent | undefined> {
  const either = new AbortController();
  const forget = [host.closed, signal].map((cause) => onAbort(cause, () => either.abort(cause?.reason)));
  try {
    either.signal.throwIfAborted();
    return (await readOne(host, type, subject, either.signal))?.event;
  } finally {
    for (const end of forget) end();
  }
}

/** Begins a subscription with the newest events: of a subject, or of each. `begun` is settled when they are delivered. */
export function beginAtLatest(
  host: LatestHost,
  request: SubscribeRequest,
  subject: string | undefined,
  subscriber: Subscriber,
): { readonly stop: () => void; readonly begun: Promise<void> } {
  const beginning = subject === undefined ? new Listing(host, request, subscriber) : new Watching(host, request, subscriber, subject);
  return { stop: () => beginning.stop(), begun: beginning.begin() };
}

/** A subscription to new events, which wait until the newest ones are delivered. */
abstract class Beginning implements Subscriber {
  protected readonly host: LatestHost;
  protected readonly request: SubscribeRequest;
  protected readonly ended = new AbortController();
  readonly #subscriber: Subscriber;
  #waiting: CloudEvent[] | undefined = [];
  /** Whether there were more than may wait. */
  #isOverflown = false;
  /** The newest events were read up to here. The connection may be behind that. */
  #readTo: string | undefined;
  #unsubscribe: () => void = () => {};
  /** Whether the program was told of the error with which the subscription has ended. */
  #isNotified = false;
  readonly #forget: () => void;

  constructor(host: LatestHost, request: SubscribeRequest, subscriber: Subscriber) {
    this.host = host;
    this.request = request;
    this.#subscriber = subscriber;
    // Before there is a subscription, nothing else says so.
    this.#forget = onAbort(host.closed, () => {
      const reason = host.closed.reason as TidingsError;
      this.end(reason.code === "closed" ? undefined : reason);
    });
  }

  /** The filter of the subscription. */
  protected abstract filter(): Promise<SubscribeRequest["where"]>;

  /** Delivers the newest events. Returns the position up to which the log is covered by them. */
  protected abstract deliverNewest(): Promise<string | undefined>;

  /** Subscribes, and delivers the newest events. Never rejects. */
  begin(): Promise<void> {
    const { host, request } = this;
    const { signal } = this.ended;
    let isSubscribed = false;
    return this.persevere(async () => {
      if (!isSubscribed) {
        const where = await this.filter();
        if (signal.aborted) return;
        this.#unsubscribe = host.subscriptions.add({ ...request, where, since: undefined }, this);
        isSubscribed = true;
      }
      await host.progress.until(() => host.subscriptions.reached(this) !== undefined, signal);
      do this.#isOverflown = false;
      while (!this.#open(await this.deliverNewest()));
    });
  }

  /**
   * Tries until it succeeds or the subscription has ended, which an error that is not transient does. Reports the first failure.
   * Never rejects.
   */
  protected async persevere(attempt: () => Promise<void>): Promise<void> {
    const { host } = this;
    const { signal } = this.ended;
    for (let delayMs = RETRY_MS.first; !signal.aborted; delayMs = Math.min(2 * delayMs, RETRY_MS.last)) {
      try {
        return await attempt();
      } catch (error) {
        if (signal.aborted) return;
        if (!isTransient(error)) {
          const isNotified = this.end(error as TidingsError);
          this.stop();
          return host.reports.error(error as TidingsError, isNotified);
        }
        if (delayMs === RETRY_MS.first) host.reports.error(error, false);
        await new Promise<void>((resolve) => {
          const timer = host.timers.start(() => (forget(), resolve()), delayMs);
          const forget = onAbort(signal, () => (host.timers.stop(timer), resolve()));
        });
      }
    }
  }

  stop(): void {
    this.#forget();
    this.ended.abort();
    this.#unsubscribe();
  }

  /** Whether the program wants events still. */
  get #isEnded(): boolean {
    return this.ended.signal.aborted;
  }

  deliver(event: CloudEvent): unknown {
    if (this.#waiting === undefined) return this.#passNew(event);
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push(event);
    else this.#isOverflown = true;
    return undefined;
  }

  /** Passes an event to the program. */
  protected pass(event: CloudEvent): unknown {
    return this.#isEnded ? undefined : this.#subscriber.deliver(event);
  }

  end(error?: TidingsError): boolean {
    if (!this.#isEnded) {
      this.ended.abort();
      this.#isNotified = this.#subscriber.end(error);
    }
    return this.#isNotified;
  }

  /** Delivers what waits and is after this position. Returns whether all of it is there. */
  #open(position: string | undefined): boolean {
    if (this.#isOverflown) {
      this.#waiting = [];
      return false;
    }
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    this.#readTo = position;
    for (const event of waiting) this.#passNew(event);
    return true;
  }

  /** Passes on an event that is after what was read. */
  #passNew(event: CloudEvent): unknown {
    if (this.#readTo !== undefined) {
      const position = this.host.subscriptions.positionOf(event);
      if (position !== undefined && reaches(this.#readTo, position)) return undefined;
      this.#readTo = undefined;
    }
    return this.pass(event);
  }
}

/** The newest event of each subject, then new ones. */
class Listing extends Beginning {
  #cursor: string | undefined;

  protected async filter(): Promise<SubscribeRequest["where"]> {
    return this.request.where;
  }

  protected async deliverNewest(): Promise<string> {
    const { channel, where } = this.request;
    for (;;) {
      const { events, cursor, more } = await readList(this.host, channel, where, this.#cursor, this.ended.signal);
      this.#cursor = cursor;
      for (const { event } of events) this.pass(event);
      if (!more) return placeOf(cursor, channel);
    }
  }
}

/** The newest event of one subject, then newer ones. */
class Watching extends Beginning {
  readonly #subject: string;
  /** The position of the newest event that was passed on. */
  #newest: string | undefined;
  #secondLook: Timer | undefined;
  /** Whether the newest event is read again, and whether that must begin anew. */
  #isLooking = false;
  #isDue = false;

  constructor(host: LatestHost, request: SubscribeRequest, subscriber: Subscriber, subject: string) {
    super(host, request, subscriber);
    this.#subject = subject;
  }

  protected async filter(): Promise<SubscribeRequest["where"]> {
    return this.request.where ?? filterOf(this.host, this.request.channel, this.#subject, this.ended.signal);
  }

  protected async deliverNewest(): Promise<undefined> {
    await this.#look();
    // More than may wait came meanwhile, so this is called again.
    if (this.#secondLook !== undefined) return;
    this.#lookLater();
    // What was lost may have been the newest one.
    const stopGaps = this.host.reports.gaps.add(({ channel }) => {
      if (channel !== this.request.channel) return;
      this.#lookLater();
      void this.#lookAgain();
    });
    onAbort(this.ended.signal, () => (this.host.timers.stop(this.#secondLook), stopGaps()));
  }

  #lookLater(): void {
    const { timers } = this.host;
    timers.stop(this.#secondLook);
    this.#secondLook = timers.start(() => void this.#lookAgain(), SECOND_LOOK_MS);
  }

  /** Reads the newest event until that succeeds. A call meanwhile makes it read once more. Never rejects. */
  async #lookAgain(): Promise<void> {
    this.#isDue = true;
    if (this.#isLooking) return;
    this.#isLooking = true;
    while (this.#isDue && !this.ended.signal.aborted) {
      await this.persevere(() => {
        this.#isDue = false;
        return this.#look();
      });
    }
    this.#isLooking = false;
  }

  /** Reads the newest event, and passes it on if it is newer than what was passed on. */
  async #look(): Promise<void> {
    const found: Placed | undefined = await readOne(this.host, this.request.channel, this.#subject, this.ended.signal);
    if (found) this.pass(found.event);
  }

  protected override pass(event: CloudEvent): unknown {
    const position = this.host.subscriptions.positionOf(event);
    const isNews = position !== undefined && (this.#newest === undefined || !reaches(this.#newest, position));
    if (event.subject !== this.#subject || !isNews) return undefined;
    this.#newest = position;
    return super.pass(event);
  }
}
