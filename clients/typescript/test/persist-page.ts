// A page of a browser for the tests of persistence: a storage in memory, and a fake daemon.

import { afterEach, beforeEach, expect, onTestFinished, vi } from "vitest";

import { type Bus, connect, type ConnectOptions, type InventoryChange, type OnOptions, type TidingsError } from "../src/index.js";
import { localStoragePersistence, type LocalStoragePersistenceOptions, type WebStorage } from "../src/persist/index.js";
import { FakeDaemon, type Peer } from "./fake.js";

export const channel = "inventory-change";
export const WHERE = { where: { productId: "1" } };

/** A storage in memory. */
export class MemoryStorage implements WebStorage {
  readonly texts = new Map<string, string>();
  writes = 0;
  /** Whether a write throws. */
  isFull = false;

  get length(): number {
    return this.texts.size;
  }

  key(index: number): string | null {
    return [...this.texts.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    return this.texts.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.writes += 1;
    if (this.isFull) throw new DOMException("The quota has been exceeded.", "QuotaExceededError");
    this.texts.set(key, value);
  }

  removeItem(key: string): void {
    this.texts.delete(key);
  }

  /** The stored record of each subscription. */
  get records(): { position: string; events: [string, { subject: string; data: InventoryChange }][] }[] {
    const texts = [...this.texts].filter(([key]) => !key.startsWith("tidings:cleared:"));
    return texts.map(([, text]) => JSON.parse(text));
  }
}

export let daemon: FakeDaemon;
export let storage: MemoryStorage;
let page: EventTarget;

/** Sets up each test of a file. */
export function setUp(): void {
  beforeEach(async () => {
    daemon = await FakeDaemon.start();
    storage = new MemoryStorage();
    page = new EventTarget();
    vi.stubGlobal("window", page);
    vi.stubGlobal("document", Object.assign(new EventTarget(), { visibilityState: "visible" }));
  });

  afterEach(async () => {
    vi.unstubAllGlobals();
    await daemon.stop();
  });
}

/** The page may be about to end. */
export const hide = () => page.dispatchEvent(new Event("pagehide"));

/** A bus of a page, which the test may leave open: a browser ends a page without closing the bus. */
export function open(options: LocalStoragePersistenceOptions = {}, connectOptions: ConnectOptions = {}) {
  const persist = localStoragePersistence({ storage, ...options });
  const bus = connect(daemon.url, { persist, backoff: { minMs: 5, maxMs: 5 }, ...connectOptions });
  onTestFinished(() => bus.close());
  const errors: TidingsError[] = [];
  bus.onError((error) => errors.push(error));
  return { bus, persist, errors };
}

/** Subscribes a handler, and returns the quantities that it receives. A restored one has a minus. */
export function seen({ bus, persist }: ReturnType<typeof open>, options: OnOptions<InventoryChange> = {}): number[] {
  const quantities: number[] = [];
  bus.on(channel, options, ({ newQuantity }, event) => quantities.push(persist.isRestored(event) ? -newQuantity : newQuantity));
  return quantities;
}

export function sale(peer: Peer, offset: number, subject: string | undefined, epoch = "e"): void {
  const data = { productId: "1", oldQuantity: 100, newQuantity: offset, reason: "sale" };
  const id = `${epoch}:${offset}`;
  const event = { specversion: "1.0", id, source: "test", time: "2026-11-21T00:00:00Z", dataschema: "urn:x", type: channel, subject, data } as const;
  peer.send({ type: "event", position: id, event });
}

/** Sends a heartbeat, and waits until the client has handled it and every frame before it. */
export async function handled(bus: Bus, peer: Peer, position: string): Promise<void> {
  peer.send({ type: "heartbeat", positions: { [channel]: position } });
  await expect.poll(() => bus.positions.get(channel)).toBe(position);
}

export const connection = async () => (await daemon.connection()).welcome();

/** A page that has received these events, and has ended. */
export async function ended(subjects: readonly (string | undefined)[], position: string, options: OnOptions<InventoryChange> = {}): Promise<void> {
  const first = open();
  seen(first, options);
  const peer = await connection();
  await peer.confirmSubscribe("e:0");
  subjects.forEach((subject, index) => sale(peer, index + 1, subject));
  await handled(first.bus, peer, position);
  hide();
  first.bus.close();
}
