// What is known of a publish that failed, and the ids under which it is tried again.

import type { TidingsError } from "tidings-client";

export { newId } from "../../../clients/typescript/src/id.js";

/**
 * Whether the events may have been published all the same: there was no answer, or none that denies it. Another attempt under the same
 * ids publishes them at most once.
 */
export function isUnknown({ status, code }: TidingsError): boolean {
  // A 503 of these codes says that nothing was taken.
  return status === undefined || ((status < 400 || status >= 500) && code !== "draining" && code !== "overloaded");
}

export const SAFE = "Publishing again is safe: it sends the same id, and the daemon takes an id once.";
