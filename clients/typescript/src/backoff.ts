// The delay before the next attempt: exponential backoff with full jitter.

/** The bounds of the delays between attempts, in milliseconds. */
export interface Backoff {
  /** The upper bound of the first delay after a failure. */
  readonly minMs: number;
  /** The upper bound of any delay. */
  readonly maxMs: number;
}

export const DEFAULT_BACKOFF: Backoff = { minMs: 250, maxMs: 30_000 };

/**
 * A random delay in milliseconds, up to a bound that doubles with each attempt (the first is number 0). The jitter spreads
 * out clients that lost the same daemon, so that they do not all reconnect at the same moment.
 */
export function delayBefore(attempt: number, backoff: Backoff, random: () => number): number {
  return random() * Math.min(backoff.maxMs, backoff.minMs * 2 ** attempt);
}
