// Where records are stored: in a web storage (localStorage), or in IndexedDB. Both hold texts by key.

/** A storage of texts. What it throws, or rejects with, is reported once; the bus goes on without. */
export interface Store {
  /** Every key that begins with `prefix`, with its text. */
  read(prefix: string): Entries | Promise<Entries>;
  /** Writes what `next` makes of the stored text, and of the text at `mark`. With `undefined` the text stays. */
  write(key: string, mark: string, next: Next): void | Promise<void>;
  remove(key: string): void | Promise<void>;
  /** Removes every key that begins with `prefix`, and sets the text of `mark`. */
  clear(prefix: string, mark?: Mark): void | Promise<void>;
}

export type Next = (stored: string | undefined, mark: string | undefined) => string | undefined;
export type Mark = readonly [key: string, text: string];

export type Entries = readonly (readonly [key: string, text: string])[];

/** The part of `localStorage` that is used. `sessionStorage` has it, too. */
export interface WebStorage {
  readonly length: number;
  /** The key with this index. */
  key(index: number): string | null;
  /** The text of a key. */
  getItem(key: string): string | null;
  /** Sets the text of a key. Throws if there is no room. */
  setItem(key: string, value: string): void;
  /** Removes a key. */
  removeItem(key: string): void;
}

/** A web storage. Every call is synchronous. */
export function webStore(storage: WebStorage): Store {
  const keys = (prefix: string) =>
    Array.from({ length: storage.length }, (_, index) => storage.key(index)).filter((key) => key !== null && key.startsWith(prefix)) as string[];
  return {
    read: (prefix) => keys(prefix).map((key) => [key, storage.getItem(key) ?? ""] as const),
    write(key, mark, next) {
      const text = next(storage.getItem(key) ?? undefined, storage.getItem(mark) ?? undefined);
      if (text !== undefined) storage.setItem(key, text);
    },
    remove: (key) => storage.removeItem(key),
    clear(prefix, mark) {
      for (const key of keys(prefix)) storage.removeItem(key);
      if (mark) storage.setItem(...mark);
    },
  };
}

const DATABASE = "tidings-client";
const TABLE = "records";
/** How long the database may take to open, in milliseconds. Subscriptions wait for it. */
const OPEN_TIMEOUT_MS = 3_000;

/** A database of IndexedDB. It is opened when it is first needed. */
export function indexedDbStore(factory: IDBFactory): Store {
  let opened: Promise<IDBDatabase> | undefined;

  /** Runs `work` in a transaction, and resolves with its result when the transaction is complete. */
  async function transaction<Result>(mode: IDBTransactionMode, work: (table: IDBObjectStore, done: (result: Result) => void) => void): Promise<Result> {
    opened ??= open(factory, () => (opened = undefined)).catch((cause: unknown) => {
      opened = undefined;
      throw cause;
    });
    const running = (await opened).transaction(TABLE, mode);
    return new Promise((resolve, reject) => {
      let result: Result;
      running.oncomplete = () => resolve(result);
      running.onabort = () => reject(running.error ?? new Error("the transaction was aborted"));
      work(running.objectStore(TABLE), (value) => (result = value));
    });
  }
  const range = (prefix: string) => IDBKeyRange.bound(prefix, `${prefix}\uffff`);

  return {
    read: (prefix) =>
      transaction<Entries>("readonly", (table, done) => {
        const [keys, texts] = [table.getAllKeys(range(prefix)), table.getAll(range(prefix))];
        // Requests of a transaction are answered in order.
        texts.onsuccess = () => done(keys.result.map((key, index) => [String(key), String(texts.result[index])] as const));
      }),
    write: (key, mark, next) =>
      transaction<void>("readwrite", (table) => {
        const [marked, stored] = [mark, key].map((name) => table.get(name)) as [IDBRequest<string | undefined>, IDBRequest<string | undefined>];
        stored.onsuccess = () => {
          const text = next(stored.result, marked.result);
          if (text !== undefined) table.put(text, key);
        };
      }),
    remove: (key) => transaction<void>("readwrite", (table) => void table.delete(key)),
    clear: (prefix, mark) =>
      transaction<void>("readwrite", (table) => {
        table.delete(range(prefix));
        if (mark) table.put(mark[1], mark[0]);
      }),
  };
}

/** Opens the database. `closed` is called when it cannot be used any longer. */
function open(factory: IDBFactory, closed: () => void): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      reject(new Error(`IndexedDB did not open within ${OPEN_TIMEOUT_MS / 1000} s`));
    }, OPEN_TIMEOUT_MS);
    const request = factory.open(DATABASE, 1);
    request.onupgradeneeded = () => void request.result.createObjectStore(TABLE);
    request.onerror = () => (clearTimeout(timer), reject(request.error));
    request.onsuccess = () => {
      clearTimeout(timer);
      const database = request.result;
      if (isLate) return database.close();
      database.onclose = closed;
      // Another page wants to delete the database, or a later version of the client to change it: this one must not block it.
      database.onversionchange = () => (database.close(), closed());
      resolve(database);
    };
  });
}
