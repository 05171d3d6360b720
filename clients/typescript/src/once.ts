// One bus for each URL in a page or process, however often its module runs: for hot reload.

import type { Bus } from "./bus.js";
import { connect } from "./connect.js";
import type { EventMap } from "./generated/events.js";
import type { ConnectOptions, TypesOptions } from "./types.js";
import { baseUrl } from "./url.js";

/** On the global object: a module that is loaded again has new variables, and the ES module and CommonJS are two modules. */
const BUSES: unique symbol = Symbol.for("tidings-client.buses") as never;

/** The options of `connectOnce`. */
export interface ConnectOnceOptions extends ConnectOptions {
  /** Tells apart buses of one URL: for example those of different users. Default: none. */
  readonly name?: string | undefined;
}

/**
 * As `connect`, but later calls with the same URL and `name` return the first bus until it is closed. Their options are ignored.
 *
 * A development server runs a module again after each change (hot reload), and each run that calls `connect` would leave a bus and a
 * socket behind. The handlers of a former run are the program's to remove: end them in `import.meta.hot.dispose`.
 *
 * @throws {TypeError} as `connect`.
 */
export function connectOnce<Events extends object = EventMap>(
  url: string,
  options: ConnectOnceOptions & TypesOptions<Events> = {},
): Bus<Events> {
  const holder = globalThis as { [BUSES]?: Map<string, Bus<any>> };
  const buses = (holder[BUSES] ??= new Map());
  const key = JSON.stringify([baseUrl(url), options.name]);
  const known = buses.get(key);
  if (known !== undefined && known.state.status !== "closed") return known;
  const bus = connect<Events>(url, options);
  buses.set(key, bus);
  return bus;
}
