// The newest events, which `useLatest` shows: one subscription for all components that ask for the same.

import type { Bus } from "../bus.js";

interface Latest {
  event: object | undefined;
  readonly listeners: Set<() => void>;
  readonly stop: () => void;
}

interface Request {
  readonly type: string;
  readonly where: any;
  readonly since: string | undefined;
  readonly subject: string | undefined;
}

/** The newest events of a bus, by request. One is there for as long as a component asks for it. */
class LatestEvents {
  readonly #bus: Bus<any>;
  readonly #byKey = new Map<string, Latest>();

  constructor(bus: Bus<any>) {
    this.#bus = bus;
  }

  get(key: string): object | undefined {
    return this.#byKey.get(key)?.event;
  }

  /** Calls `changed` for each event. Returns a function that ends it. */
  subscribe(key: string, { type, where, since, subject }: Request, changed: () => void): () => void {
    let latest = this.#byKey.get(key);
    if (latest === undefined) {
      if (this.#bus.state.status === "closed") return () => {};
      const listeners = new Set<() => void>();
      const show = (_: unknown, event: object) => {
        created.event = event;
        for (const listener of [...listeners]) listener();
      };
      const stop = subject === undefined ? this.#bus.on(type, { where, since }, show) : this.#bus.watch(type, subject, { where }, show);
      const created: Latest = { event: undefined, listeners, stop };
      latest = created;
      this.#byKey.set(key, latest);
    }
    const { listeners, stop } = latest;
    const listener = () => changed();
    listeners.add(listener);
    return () => {
      if (!listeners.delete(listener) || listeners.size > 0) return;
      // Later, since a component often takes the place of another one: it shows what that one has shown.
      setTimeout(() => {
        if (listeners.size > 0 || this.#byKey.get(key) !== latest) return;
        this.#byKey.delete(key);
        stop();
      }, 0);
    };
  }
}

const byBus = new WeakMap<Bus<any>, LatestEvents>();

export function latestOf(bus: Bus<any>): LatestEvents {
  let latest = byBus.get(bus);
  if (latest === undefined) byBus.set(bus, (latest = new LatestEvents(bus)));
  return latest;
}
