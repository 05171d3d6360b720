// The event types of the daemon, as far as the holder of the token may see them.

import { effect, signal } from "@preact/signals";
import type { TidingsError } from "tidings-client";

import { visible } from "./poll.js";
import type { Schema } from "./schema.js";
import { get, token } from "./session.js";

export interface Catalog {
  /** The schema of `data` by event type, in the daemon's order. */
  readonly schemas: ReadonlyMap<string, Schema>;
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
  get<{ schemas: Record<string, Schema> }>("v1/schemas").then(
    ({ schemas }) => key === asked && (catalog.value = { schemas: new Map(Object.entries(schemas)) }),
    (error: TidingsError) => key === asked && (catalog.value = { schemas: new Map(), error }),
  );
});

/** A colour for a channel: the same one in every view. A number from 0 to 7. */
export function hue(channel: string): number {
  let hash = 7;
  for (const char of channel) hash = (hash * 31 + char.charCodeAt(0)) >>> 0;
  const index = [...(catalog.value?.schemas.keys() ?? [])].indexOf(channel);
  return (index >= 0 ? index : hash) % 8;
}
