// The entry point of the client: `connect` makes a bus.

import { Bus } from "./bus.js";
import type { EventMap } from "./generated/events.js";
import type { ConnectOptions, TypesOptions } from "./types.js";

/**
 * A bus that connects to the daemon with its first subscription, in the background. Opens nothing by itself.
 *
 * `url` is the address of the daemon, such as `http://127.0.0.1:7400`; `ws:` works, too. For the types of custom events, use
 * `connect<EventMap>` with the `EventMap` that `tidings codegen typescript` generates, or the option `types`.
 *
 * @throws {TypeError} if a URL is not valid, or is not an `http:`, `https:`, `ws:` or `wss:` URL; if the token is empty.
 */
export function connect<Events extends object = EventMap>(url: string, options: ConnectOptions & TypesOptions<Events> = {}): Bus<Events> {
  return new Bus<Events>(url, options);
}
