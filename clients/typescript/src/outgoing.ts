// What the application passes in, as the daemon wants it.

import { TidingsError } from "./errors.js";
import { newId } from "./id.js";
import type { EventWithId } from "./publish.js";
import type { EventAttributes } from "./types.js";

/** The event as it is sent. Generates its id here, so that every attempt sends the same one. JSON leaves out what is undefined. */
export function toEvent({ extensions, id = newId(), ...event }: EventAttributes & { type: string; data: unknown }): EventWithId {
  return { ...extensions, id, ...event };
}

/** Rejects undefined conditions: JSON would drop them, and the filter would match more events than intended. */
export function checkWhere(where: object = {}): void {
  for (const [field, condition] of Object.entries(where)) {
    if (condition === undefined) {
      throw new TidingsError("invalid-filter", `where.${field} is undefined; leave it out to match every value`);
    }
  }
}
