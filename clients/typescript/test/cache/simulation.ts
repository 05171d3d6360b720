// A small world with a truth, writers, a log, and two instances with caches, in virtual time and with faults. Every read is compared
// with the truth: a read that begins at t must not return a version that is older than one that was acknowledged before t - bound.
//
// The same seed gives the same run.

import { Core, type Replaced, View } from "../../src/cache/cache.js";
import type { Clock } from "../../src/cache/clock.js";
import type { CacheBus, Invalidation, PublishedInvalidation, Source, SourceHandler } from "../../src/cache/source.js";
import type { GetOptions } from "../../src/cache/types.js";
import { TidingsError } from "../../src/index.js";
import { MemoryL2 } from "./runner.js";
import { settle, VirtualEnvironment } from "./virtual.js";

/** A generator of numbers from 0 up to 1 (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed * 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Logged {
  readonly offset: number;
  readonly id: string;
  readonly cause: string | undefined;
  readonly data: Invalidation;
}

/** The log that all instances share. */
class Broker {
  epoch = 1;
  head = 0;
  log: Logged[] = [];
  isAway = false;
  readonly buses: SimulatedBus[] = [];

  append(data: Invalidation, id: string, cause?: string): string {
    this.log.push({ offset: ++this.head, id, cause, data });
    for (const bus of this.buses) bus.wake();
    return this.position;
  }

  get position(): string {
    return `e${this.epoch}:${this.head}`;
  }

  /** Forgets all but the newest entries. */
  trim(left: number): void {
    this.log = this.log.slice(Math.max(0, this.log.length - left));
  }

  /** Loses the log. */
  restart(): void {
    this.epoch++;
    this.head = 0;
    this.log = [];
    for (const bus of this.buses) bus.wake();
  }
}

/** The bus of an instance, with a connection that has latency and fails. */
export class SimulatedBus implements Source {
  readonly #broker: Broker;
  readonly #environment: VirtualEnvironment;
  readonly #random: () => number;
  handler!: SourceHandler;
  isConnected = true;
  /** Whether the connection is open and nothing gets through. */
  isSilent = false;
  /** For a planted bug: what was published without a connection is skipped. */
  skipsReplay = false;
  #epoch: number;
  #offset: number;
  #isBusy = false;
  #syncs: { resolve: (position: string) => void; reject: (error: Error) => void; target: [number, number] | undefined }[] = [];

  constructor(broker: Broker, environment: VirtualEnvironment, random: () => number) {
    this.#broker = broker;
    this.#environment = environment;
    this.#random = random;
    this.#epoch = broker.epoch;
    this.#offset = broker.head;
    broker.buses.push(this);
  }

  start(handler: SourceHandler, replay: boolean): () => void {
    this.handler = handler;
    if (replay) this.#offset = (this.#broker.log[0]?.offset ?? this.#broker.head + 1) - 1;
    this.wake();
    return () => {};
  }

  get #flows(): boolean {
    return this.isConnected && !this.isSilent && !this.#broker.isAway;
  }

  /** Delivers the next frame after some time. */
  wake(): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#environment.setTimer(() => {
      this.#isBusy = false;
      if (this.#flows && this.#deliver()) this.wake();
    }, Math.floor(this.#random() * 20));
  }

  /** Delivers one frame. Returns whether there may be more. */
  #deliver(): boolean {
    const { epoch, head, log } = this.#broker;
    const first = log[0]?.offset ?? head + 1;
    if (epoch !== this.#epoch || this.#offset < first - 1) {
      this.#epoch = epoch;
      this.#offset = first - 1;
      this.handler.lost(`e${epoch}:${this.#offset}`);
      return true;
    }
    for (const sync of this.#syncs) sync.target ??= [epoch, head];
    const ready = this.#syncs.filter(({ target }) => target![0] < epoch || target![1] <= this.#offset);
    this.#syncs = this.#syncs.filter((sync) => !ready.includes(sync));
    for (const { resolve } of ready) resolve(`e${epoch}:${this.#offset}`);
    const next = log.find(({ offset }) => offset > this.#offset);
    if (next === undefined) return this.#syncs.length > 0;
    this.#offset = next.offset;
    const { id, cause, data } = next;
    this.handler.invalidated({ position: `e${epoch}:${next.offset}`, id, cause, data });
    return true;
  }

  sync(): Promise<string> {
    if (this.#broker.isAway) return Promise.reject(new TidingsError("broker-unavailable", "no broker"));
    return new Promise((resolve, reject) => {
      this.#syncs.push({ resolve, reject, target: undefined });
      this.wake();
    });
  }

  cut(): void {
    this.isConnected = false;
    this.isSilent = false;
    // Asked again on the next connection.
    for (const sync of this.#syncs) sync.target = undefined;
  }

  mend(): void {
    this.isConnected = true;
    this.isSilent = false;
    if (this.skipsReplay) this.#offset = this.#broker.head;
    this.wake();
  }

  async publish(data: Invalidation, { id, cause, signal }: PublishedInvalidation): Promise<string> {
    await new Promise<void>((resolve) => void this.#environment.setTimer(resolve, this.#random() * 30));
    signal?.throwIfAborted();
    if (this.#broker.isAway) throw new TidingsError("broker-unavailable", "no broker", { ids: [id] });
    const position = this.#broker.append(data, id, cause);
    await new Promise<void>((resolve) => void this.#environment.setTimer(resolve, this.#random() * 30));
    return position;
  }
}

export interface SimulationOptions {
  readonly parts?: () => Replaced;
  readonly bus?: (source: SimulatedBus) => void;
  readonly clock?: (environment: VirtualEnvironment) => Pick<Clock, "now">;
}

export interface SimulationResult {
  /** What was wrong, in words. */
  readonly stale: string[];
  readonly reads: number;
  readonly hits: number;
}

const KEYS = ["p:0", "p:1", "q:0", "q:1"];
const BOUND_MS = 2_000;
const HOLD_MS = 5_000;

/** Runs the world of a seed. */
export async function simulate(seed: number, { parts, bus, clock }: SimulationOptions = {}): Promise<SimulationResult> {
  const random = seeded(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <Item>(items: readonly Item[]): Item => items[below(items.length)]!;
  const environment = new VirtualEnvironment(clock);
  environment.next = random;
  // How long the machine slept, which its monotonic clock does not show.
  let slept = 0;
  const time = () => environment.mono + slept;
  const sleep = (ms: number) => new Promise<void>((resolve) => void environment.setTimer(resolve, ms));

  const truth = new Map(KEYS.map((key) => [key, 0]));
  const acknowledged: { key: string; version: number; at: number }[] = [];
  const commit = (key: string) => {
    const version = truth.get(key)! + 1;
    truth.set(key, version);
    return version;
  };
  /** The versions of the keys that an invalidation concerns, as they are now: all of them were committed before it. */
  const current = (keys: readonly string[]) => keys.map((key) => ({ key, version: truth.get(key)! }));
  const acknowledge = (versions: readonly { key: string; version: number }[], at: number) => {
    for (const { key, version } of versions) acknowledged.push({ key, version, at });
  };

  const broker = new Broker();
  const l2 = seed % 2 === 1 ? new MemoryL2() : undefined;
  const instances = [0, 1].map(() => {
    const source = new SimulatedBus(broker, environment, random);
    bus?.(source);
    const options = { bus: undefined as unknown as CacheBus, bound: BOUND_MS, ttl: 20_000, maxEntries: 3, ...(l2 && { l2 }) };
    const core = new Core(options, { source, environment, ...parts?.() });
    return { source, core, cache: new View(core, ""), own: new Map<string, number>() };
  });
  const stale: string[] = [];
  let reads = 0;
  const pending = new Set<Promise<unknown>>();
  const background = (work: Promise<unknown>) => {
    const done = work.catch(() => {}).finally(() => pending.delete(done));
    pending.add(done);
  };

  const tagsOf = (key: string) => [`k:${key}`, `g:${key[0]}`];
  /** An invalidation that concerns `key`, and the keys that it names. */
  const whatOf = (key: string): [Invalidation, string[]] => {
    const group = KEYS.filter((other) => other[0] === key[0]);
    return pick<[Invalidation, string[]]>([
      [{ tags: [`k:${key}`] }, [key]],
      [{ keys: [key] }, [key]],
      [{ tags: [`g:${key[0]}`] }, group],
      [{ prefixes: [`${key[0]}:`] }, group],
    ]);
  };

  const read = async (index: number) => {
    const { cache, own } = instances[index]!;
    const key = pick(KEYS);
    const [began, isStrict] = [time(), below(8) === 0];
    // Before the read, and not at its very moment.
    const bound = isStrict ? 0 : BOUND_MS;
    const needed = Math.max(0, ...acknowledged.filter((one) => one.key === key && one.at < began - bound).map(({ version }) => version), own.get(key) ?? 0);
    const latency = () => (below(5) === 0 ? below(4_000) : below(50));
    const options: GetOptions<any> = { ...(isStrict && { bound: 0 }), ...(below(4) === 0 && { staleWhileRevalidate: 10_000 }), lock: below(6) === 0 };
    const isLate = below(2) === 0;
    const version = await cache.getOrSet(
      key,
      async (context) => {
        await sleep(latency());
        const version = truth.get(key)!;
        await sleep(latency());
        if (isLate) context.tag(...tagsOf(key));
        return version;
      },
      { ...options, ...(!isLate && { tags: tagsOf(key) }) },
    );
    reads++;
    if (version < needed) stale.push(`at ${began}, a read of ${key} with bound ${bound} returned ${version}, ${needed} was acknowledged; it ended at ${time()}`);
  };

  const write = async (index: number) => {
    const { cache, own } = instances[index]!;
    const key = pick(KEYS);
    const kind = below(6);
    if (kind === 0) {
      let version = 0;
      await cache.put(key, truth.get(key)! + 1, { tags: tagsOf(key), save: async (value) => {
        await sleep(below(50));
        version = commit(key);
        // Another writer came first: the value is another one, as with a counter in a database.
        if (version !== value) throw new Error("conflict");
      } });
      return acknowledge([{ key, version }], time());
    }
    const [what, keys] = whatOf(key);
    if (kind === 1) {
      await cache.mutate(what, async () => {
        await sleep(below(200));
        commit(key);
        await sleep(below(200));
      }, { hold: HOLD_MS });
      return acknowledge(current([key]).slice(0, 0), time());
    }
    await sleep(below(100));
    commit(key);
    await sleep(below(100));
    const versions = current(keys);
    // This instance reads its own writes at once.
    for (const { key, version } of versions) own.set(key, Math.max(version, own.get(key) ?? 0));
    await cache.invalidate(what);
    acknowledge(versions, time());
  };

  /** A writer that dies between its commit and its publication. */
  const die = async () => {
    const key = pick(KEYS);
    const [what] = whatOf(key);
    if (broker.isAway) return;
    const until = time() + HOLD_MS;
    broker.append({ ...what, holdMs: HOLD_MS }, `dead-${random()}`);
    await sleep(below(200));
    // A writer that slept past its hold is not covered, unless it lives to invalidate.
    if (time() >= until) return;
    const version = commit(key);
    // Wherever the hold arrives within the bound, it is over by then.
    acknowledge([{ key, version }], time() + HOLD_MS + BOUND_MS);
  };

  /** A writer on another machine, without a cache. */
  const foreign = (slower: boolean) => {
    const key = pick(KEYS);
    commit(key);
    const [what, keys] = whatOf(key);
    const versions = current(keys);
    if (broker.isAway) return;
    broker.append(what, `foreign-${random()}`);
    acknowledge(versions, time() + (slower ? 5 : 0));
  };

  const fault = async () => {
    const { source } = pick(instances);
    switch (below(7)) {
      case 0:
        source.cut();
        await sleep(below(6_000));
        return source.mend();
      case 1:
        source.isSilent = true;
        await sleep(below(8_000));
        source.cut();
        await sleep(below(500));
        return source.mend();
      case 2:
        broker.isAway = true;
        await sleep(below(4_000));
        broker.isAway = false;
        return broker.buses.forEach((each) => each.wake());
      case 3:
        return broker.trim(below(3));
      case 4:
        return broker.restart();
      case 5:
        return void (environment.wall += pick([-3_600_000, -2_500, -800, 3_600_000]));
      default:
        if (!l2) return;
        l2.mode = pick(["down", "up"]);
        await sleep(below(1_500));
        l2.mode = "up";
    }
  };

  /** The machine sleeps, others write meanwhile, and it reads in the first moment after. */
  const suspend = () => {
    const ms = below(10_000);
    slept += ms;
    const count = below(3);
    for (let done = 0; done < count; done++) foreign(false);
    // They were acknowledged some time before it wakes up.
    slept += ms;
    environment.wall += 2 * ms;
    for (const index of instances.keys()) background(read(index));
  };

  for (let step = 0; step < 80; step++) {
    const index = below(2);
    const choice = below(20);
    if (choice < 11) background(read(index));
    else if (choice < 14) background(write(index));
    else if (choice < 16) foreign(true);
    else if (choice < 17) background(die());
    else if (choice < 18) suspend();
    else background(fault());
    await environment.advance(below(3) === 0 ? below(2_500) : below(120));
  }
  // At rest: no faults, everything has been delivered, and one sync was answered.
  for (let waited = 0; pending.size > 0 && waited < 100; waited++) await environment.advance(1_000);
  for (const key of KEYS) foreign(false), void key;
  await environment.advance(10_000);
  for (const { core } of instances) core.proof.refresh();
  await environment.advance(1_000);
  const acknowledgedAtRest = (key: string) => Math.max(0, ...acknowledged.filter((one) => one.key === key && one.at <= time()).map(({ version }) => version));
  for (const { cache } of instances) {
    for (const key of KEYS) {
      const version = cache.peek<number>(key);
      if (version !== undefined && version < acknowledgedAtRest(key)) stale.push(`at rest, ${key} is ${version}, ${acknowledgedAtRest(key)} was acknowledged`);
    }
  }
  const hits = instances.reduce((sum, { cache }) => sum + cache.stats().hitsL1 + cache.stats().hitsL2, 0);
  for (const { cache } of instances) await cache.close();
  await settle();
  return { stale, reads, hits };
}
