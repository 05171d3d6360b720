// The persisted subscriptions of one bus: reads the storage once, and writes what has changed, rarely.
//
// Several tabs share a storage. Each writes what it has, unless another tab is ahead (`isNewer`), so that the newest values are
// there for the next page. A write that is lost does no harm: the next page then begins earlier, and gets the same events again.

import { TidingsError } from "../errors.js";
import type { CloudEvent } from "../generated/events.js";
import type { ServerFrame } from "../generated/protocol.js";
import type { PersistedBus, PersistHost } from "../persistence.js";
import { reaches } from "../position.js";
import type { SubscribeRequest, Subscriber } from "../subscription.js";
import { Entry, type EntryHost } from "./entry.js";
import { isNewer, readRecord, type StoredRecord, timeOf, writeRecord } from "./record.js";
import type { Entries, Store } from "./store.js";

/** The bounds of what is stored. */
export interface Limits {
  readonly maxAgeMs: number;
  readonly maxEvents: number;
  readonly maxSize: number;
  readonly maxSubscriptions: number;
}

export interface PersistedOptions {
  /** Returns `undefined` where there is no storage, as on a server. */
  readonly openStore: () => Store | undefined;
  /** What the keys of the bus begin with. */
  readonly prefix: string;
  /** The key that has the time of the last `clear`. */
  readonly mark: string;
  readonly limits: Limits;
  /** Receives the position of each restored event. */
  readonly positions: WeakMap<object, string>;
  /** Called when the bus begins to use the storage. */
  readonly onOpened: () => void;
  readonly onClosed: () => void;
}

/** How long after a change it is written, in milliseconds. Changes within this time are one write. */
const WRITE_DELAY_MS = 2_000;
/** Of the whole size, one subscription gets at most this part. */
const MAX_PART = 1 / 4;

export class Persisted implements PersistedBus {
  readonly #host: PersistHost;
  readonly #entryHost: EntryHost;
  readonly #openStore: () => Store | undefined;
  readonly #limits: Limits;
  readonly #prefix: string;
  readonly #mark: string;
  /** The last `clear` that this bus knows of: the text of the mark. */
  #cleared: string | undefined;
  readonly #onOpened: () => void;
  readonly #onClosed: () => void;
  /** `undefined` before the first subscription, and where there is none. */
  #store: Store | undefined;
  /** Whether there is no storage, so that the bus is one without persistence. */
  #isOff = false;
  /** By the key in the storage. Those that were used longest ago are first. */
  readonly #entries = new Map<string, Entry>();
  /** What is in the storage and was not used yet, oldest first. `undefined` until it was read. */
  #stored: Map<string, string> | undefined;
  /** The subscribers that wait for the storage, and what each does then. */
  readonly #waiting = new Map<Subscriber, () => void>();
  #isReceiving = false;
  /** When the last frame arrived, by `Date.now()`. */
  #receivedAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #closing = new AbortController();
  #hasFailed = false;

  constructor(host: PersistHost, options: PersistedOptions) {
    const { limits, positions } = options;
    this.#host = host;
    this.#openStore = options.openStore;
    this.#onOpened = options.onOpened;
    this.#onClosed = options.onClosed;
    this.#prefix = options.prefix;
    this.#mark = options.mark;
    this.#limits = limits;
    this.positionOf = (event) => positions.get(event);
    const isReceiving = () => this.#isReceiving;
    this.#entryHost = {
      ...host,
      maxEvents: limits.maxEvents,
      get isReceiving() {
        return isReceiving();
      },
      restored: (event, position) => void positions.set(event, position),
      refused: ({ key }) => this.#use((store) => store.remove(key)),
    };
  }

  readonly positionOf: (event: object) => string | undefined;

  get isLoading(): boolean {
    return this.#waiting.size > 0;
  }

  subscribe(request: SubscribeRequest, subscriber: Subscriber): () => void {
    if (!this.#isOff && this.#store === undefined) this.#open();
    if (this.#isOff) return this.#host.subscribe(request, subscriber);
    const { channel, where } = request;
    const key = `${this.#prefix}${JSON.stringify([channel, where]).slice(1)}`;
    let entry: Entry | undefined;
    const start = () => {
      entry = this.#entry(key, request);
      entry.join(subscriber);
    };
    if (this.#stored !== undefined) start();
    else this.#waiting.set(subscriber, start);
    return () => {
      this.#waiting.delete(subscriber);
      entry?.leave(subscriber);
    };
  }

  follow<Event extends CloudEvent>(subscriber: Subscriber, loop: AsyncIterableIterator<Event>): AsyncIterableIterator<Event> {
    let taken: Event[] = [];
    let processed: ((event: object) => void) | undefined;
    const join = () => (processed ??= [...this.#entries.values()].map((entry) => entry.follow(subscriber)).find(Boolean));
    const start = this.#waiting.get(subscriber);
    if (start) this.#waiting.set(subscriber, () => (start(), join()));
    else if (!join()) return loop;
    return {
      next: () => {
        for (const event of taken.splice(0)) processed?.(event);
        return loop.next().then((result) => {
          if (!result.done) taken.push(result.value);
          return result;
        });
      },
      // The event at which the loop is left may not be processed: it comes again.
      return: () => ((taken = []), loop.return?.() ?? Promise.resolve({ value: undefined, done: true as const })),
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  receiving(frame: ServerFrame): void {
    this.#isReceiving = true;
    if (frame.type !== "gap") return;
    for (const entry of this.#entries.values()) {
      if (entry.channel === frame.channel && entry.isActive) entry.lost(frame);
    }
  }

  received(): void {
    this.#isReceiving = false;
    this.#receivedAt = Date.now();
    for (const entry of this.#entries.values()) entry.received();
    if (this.#stored !== undefined && !this.#isClosed) this.#timer ??= setTimeout(() => this.#write(), WRITE_DELAY_MS);
  }

  /** Drops the values from before a `clear`, which has left this mark: those of the storage are removed. */
  forget(mark: string): void {
    this.#cleared = mark;
    const until = Number(mark);
    for (const [key, text] of this.#stored ?? []) if (!(timeOf(text) > until)) this.#stored?.delete(key);
    for (const [key, entry] of this.#entries) {
      entry.forget(until);
      if (!entry.isActive && entry.values.length === 0) this.#entries.delete(key);
    }
  }

  close(error?: TidingsError): void {
    if (this.#isClosed) return;
    // Within a frame, some handlers do not have its event: the positions stay where they were.
    this.#write();
    this.#closing.abort();
    // What the daemon refuses to this user must not be shown again.
    if (error?.code === "unauthenticated" || error?.code === "forbidden") this.#use((store) => store.clear(this.#prefix));
    for (const subscriber of this.#waiting.keys()) subscriber.end(error);
    this.#waiting.clear();
    this.#onClosed();
  }

  /** The entry with this key, which becomes the one that was used last. */
  #entry(key: string, request: SubscribeRequest): Entry {
    const text = this.#stored?.get(key);
    const record = text === undefined ? undefined : readRecord(text, request.channel, this.#limits.maxAgeMs);
    this.#stored?.delete(key);
    // Damaged, too old, or of another version.
    if (text !== undefined && record === undefined) this.#use((store) => store.remove(key));
    const entry = this.#entries.get(key) ?? new Entry(key, request, this.#entryHost, record);
    if (record !== undefined) entry.size = text?.length ?? 0;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  /** Opens the storage, and begins to read it. */
  #open(): void {
    this.#store = this.#attempt(this.#openStore) as Store | undefined;
    this.#isOff = this.#store === undefined;
    if (this.#isOff) return;
    this.#onOpened();
    this.#listen();
    const read = this.#use((store) => store.read(this.#prefix));
    if (read instanceof Promise) void read.then((entries) => this.#loaded(entries));
    else this.#loaded(read);
  }

  /** The storage was read, or cannot be. */
  #loaded(entries: Entries = []): void {
    if (this.#isClosed) return;
    const at = new Map(entries.map(([key, text]) => [key, timeOf(text)]));
    const isUsable = (key: string) => Math.abs(Date.now() - (at.get(key) ?? NaN)) <= this.#limits.maxAgeMs;
    const sorted = entries.filter(([key]) => isUsable(key)).sort(([one], [other]) => (at.get(one) ?? 0) - (at.get(other) ?? 0));
    this.#stored = new Map(sorted);
    for (const [key] of entries) if (!this.#stored.has(key)) this.#use((store) => store.remove(key));
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const start of waiting) start();
    if (waiting.length > 0) this.#host.onLoaded();
  }

  /** Writes what has changed. */
  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#isClosed || this.#stored === undefined) return;
    const { maxAgeMs, maxSize } = this.#limits;
    const entries = [...this.#entries.values()];
    const active = entries.filter(({ isActive }) => isActive);
    if (!this.#isReceiving) for (const entry of active) entry.advance();
    const maxLength = Math.floor(maxSize * Math.min(MAX_PART, 1 / Math.max(1, active.length)));
    for (const entry of entries) {
      const { key, channel, position } = entry;
      if (!entry.isChanged || position === undefined) continue;
      entry.isChanged = false;
      const at = this.#receivedAt;
      const next = (stored: string | undefined, mark: string | undefined) => {
        // Another tab has cleared the storage: what this one had before must not come back.
        if (mark !== undefined && mark !== this.#cleared) this.forget(mark);
        // A value beyond the position comes again from the daemon.
        const record: StoredRecord = { at, position, values: entry.values.filter((value) => reaches(position, value.position)) };
        const text = writeRecord(record, maxLength);
        entry.size = text.length;
        const other = stored === undefined ? undefined : readRecord(stored, channel, maxAgeMs);
        return other !== undefined && other.position !== entry.beforeGap && isNewer(other, record) ? undefined : text;
      };
      // What could not be written is written with the next change.
      this.#use((store) => store.write(key, this.#mark, next), () => (entry.isChanged = true));
    }
    this.#makeRoom();
  }

  /** Removes what was used longest ago, until the rest is within the bounds. Subscriptions of this page stay. */
  #makeRoom(): void {
    const { maxSize, maxSubscriptions } = this.#limits;
    const stored = this.#stored ?? new Map<string, string>();
    let count = stored.size + this.#entries.size;
    let size = [...stored.values()].reduce((sum, text) => sum + text.length, 0);
    for (const entry of this.#entries.values()) size += entry.size;
    const unused = [...stored].map(([key, text]) => ({ key, size: text.length }));
    for (const entry of [...unused, ...[...this.#entries.values()].filter(({ isActive }) => !isActive)]) {
      if (count <= maxSubscriptions && size <= maxSize) return;
      count -= 1;
      size -= entry.size;
      stored.delete(entry.key);
      this.#entries.delete(entry.key);
      this.#use((store) => store.remove(entry.key));
    }
  }

  /** Writes at once when the page may be about to end. A listener of `unload` would keep it out of the back/forward cache. */
  readonly #onHide = ({ type }: Event): void => {
    if (type === "pagehide" || document.visibilityState === "hidden") this.#write();
  };

  /** A worker has neither event. */
  #listen(): void {
    if (typeof document === "undefined") return;
    const { signal } = this.#closing;
    document.addEventListener("visibilitychange", this.#onHide, { signal });
    window.addEventListener("pagehide", this.#onHide, { signal });
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Uses the storage, as `#attempt`. */
  #use<Result>(work: (store: Store) => Result | Promise<Result>, failed?: () => void): Result | Promise<Result | undefined> | undefined {
    const store = this.#store;
    return store && this.#attempt(() => work(store), failed);
  }

  /** Calls the browser. Reports the first failure only: the next ones say the same. Returns `undefined` after a failure. */
  #attempt<Result>(call: () => Result | Promise<Result>, failed?: () => void): Result | Promise<Result | undefined> | undefined {
    const fail = (cause: unknown): undefined => {
      failed?.();
      if (this.#hasFailed) return undefined;
      this.#hasFailed = true;
      const message = `the browser does not store the state of the bus: ${String(cause)}; the bus goes on without, and a reloaded page may begin anew`;
      this.#host.onError(new TidingsError("not-persisted", message, { cause }));
      return undefined;
    };
    try {
      const result = call();
      return result instanceof Promise ? result.catch(fail) : result;
    } catch (cause) {
      return fail(cause);
    }
  }
}
