// `tidings-client/persist`: a reloaded page shows the newest values that it had, and resumes where it was.
//
// ```ts
// const bus = connect(url, { persist: localStoragePersistence({ name: user.id }) });
// ```

import type { Persistence } from "../persistence.js";
import { type Limits, Persisted } from "./persisted.js";
import { indexedDbStore, type Store, type WebStorage, webStore } from "./store.js";

export type { Persistence } from "../persistence.js";
export type { WebStorage } from "./store.js";

/** The options of both persistences. */
export interface PersistenceOptions {
  /**
   * What is stored belongs to this name. Give each user a name of its own, so that nobody sees the values of another one, and change
   * it when the data of your types changes its shape. Default: `"default"`.
   */
  readonly name?: string | undefined;
  /** How long something stored is used, in milliseconds. Default: 24 hours. */
  readonly maxAgeMs?: number | undefined;
  /** The number of subjects of each subscription whose newest event is stored. Default: 200. */
  readonly maxEvents?: number | undefined;
  /** How many subscriptions (an event type with its filter) are stored. The ones used longest ago go first. Default: 64. */
  readonly maxSubscriptions?: number | undefined;
  /**
   * The size of everything that is stored under one name and URL, in UTF-16 code units, of which a browser gives a site about five
   * million. One subscription gets at most a quarter. Default: 1,048,576.
   */
  readonly maxSize?: number | undefined;
}

/** The options of {@link localStoragePersistence}. */
export interface LocalStoragePersistenceOptions extends PersistenceOptions {
  /** Another storage, such as `sessionStorage`, which each tab has for itself. Default: `localStorage`. */
  readonly storage?: WebStorage | undefined;
}

/**
 * Stores the state of a bus in `localStorage`, for the option `persist` of `connect`. All tabs of the site share it.
 *
 * On a server, which has no page, it does nothing.
 */
export function localStoragePersistence({ storage, ...options }: LocalStoragePersistenceOptions = {}): Persistence {
  return persistence(() => {
    // Some runtimes for servers have a `localStorage`, which all of their users would share.
    const found = storage ?? (typeof document === "undefined" ? undefined : localStorage);
    return found && webStore(found);
  }, options);
}

/**
 * Stores the state of a bus in IndexedDB, for the option `persist` of `connect`. For more data than `localStorage` takes, and for
 * workers. All tabs of the site share it. Subscriptions wait until it is read, up to 3 s.
 *
 * Where there is no IndexedDB, as on a server, it does nothing.
 */
export function indexedDbPersistence(options: PersistenceOptions = {}): Persistence {
  return persistence(() => (typeof indexedDB === "undefined" ? undefined : indexedDbStore(indexedDB)), options);
}

function persistence(makeStore: () => Store | undefined, options: PersistenceOptions): Persistence {
  const { name = "default", maxAgeMs = 24 * 3_600_000, maxEvents = 200, maxSubscriptions = 64, maxSize = 1024 * 1024 } = options;
  const limits: Limits = { maxAgeMs, maxEvents, maxSubscriptions, maxSize };
  const positions = new WeakMap<object, string>();
  const buses = new Set<Persisted>();
  let store: Store | undefined;
  const openStore = () => (store ??= makeStore());
  const prefix = (...parts: string[]) => `tidings:${JSON.stringify(parts).slice(0, -1)},`;
  // Not the name itself, which may say who it was: the mark stays when everything else is removed. The hash is FNV-1a.
  const hash = [...name].reduce((hash, char) => Math.imul(hash ^ char.codePointAt(0)!, 16_777_619), 2_166_136_261);
  const mark = `tidings:cleared:${hash}`;
  return {
    isRestored: (event) => positions.has(event),
    async clear() {
      const now = `${Date.now()}`;
      for (const bus of buses) bus.forget(now);
      await openStore()?.clear(prefix(name), [mark, now]);
    },
    attach(host) {
      // Not before it has a subscription: a server makes a bus for each page that it renders, and closes none of them.
      const onOpened = () => void buses.add(bus);
      const onClosed = () => void buses.delete(bus);
      const bus = new Persisted(host, { openStore, prefix: prefix(name, host.url), mark, limits, positions, onOpened, onClosed });
      return bus;
    },
  };
}
