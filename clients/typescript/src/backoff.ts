// How long to wait before the next attempt.

export interface Backoff {
  /** The longest wait before the first attempt after a failure, in milliseconds. */
  readonly minMs: number;
  /** The longest wait ever. */
  readonly maxMs: number;
}

export const DEFAULT_BACKOFF: Backoff = { minMs: 250, maxMs: 30_000 };

/**
 * Exponential with full jitter: anything up to a bound that doubles with each attempt (the first is 0), so that the
 * clients of a daemon that went away do not come back all at once.
 */
export function delayBefore(attempt: number, backoff: Backoff, random: () => number): number {
  return random() * Math.min(backoff.maxMs, backoff.minMs * 2 ** attempt);
}
