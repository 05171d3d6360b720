// The event types of the daemon, as far as the holder of the token may see them.

import { effect, signal } from "@preact/signals";
import type { TidingsError } from "tidings-client";

import { visible } from "./poll.js";
import type { Schema } from "./schema.js";
import { get, token } from "./session.js";

export interface Catalog {
  /** The schema of `data` by event type, in the daemon's order. */
  readonly schemas: ReadonlyMap<string, Schema>;
  /** An example of `data` by event type, which the daemon accepts. It does not find one for every schema. */
  readonly examples: ReadonlyMap<string, unknown>;
  /** The channels that the holder of the token may read. */
  readonly channels: readonly string[];
  readonly error?: TidingsError | undefined;
}

/** `undefined` until the daemon has answered. */
export const catalog = signal<Catalog | undefined>(undefined);
const round = signal(0);

/** Asks the daemon again. */
export function reloadCatalog(): void {
  round.value++;
}

let asked = "";
effect(() => {
  const key = `${round.value}\n${token.value}`;
  if (!visible.value || key === asked) return;
  asked = key;
  catalog.value = undefined;
  const take = (next: Catalog) => key === asked && (catalog.value = next);
  Promise.all([
    get<{ schemas: Record<string, Schema>; examples: Record<string, unknown> }>("v1/schemas", { examples: "true" }),
    // A token that may only publish a type sees its schema, too. Where the broker does not answer, all of them are offered.
    get<{ channels: { type: string }[] }>("v1/channels").catch(() => undefined),
  ]).then(
    ([{ schemas, examples }, listed]) => take({ schemas: new Map(Object.entries(schemas)), examples: new Map(Object.entries(examples)), channels: listed?.channels.map(({ type }) => type) ?? Object.keys(schemas) }),
    (error: TidingsError) => take({ schemas: new Map(), examples: new Map(), channels: [], error }),
  );
});

/** A colour for a channel: the same one in every view. A number from 0 to 7. */
export function hue(channel: string): number {
  let hash = 7;
  for (const char of channel) hash = (hash * 31 + char.charCodeAt(0)) >>> 0;
  const index = [...(catalog.value?.schemas.keys() ?? [])].indexOf(channel);
  return (index >= 0 ? index : hash) % 8;
}
