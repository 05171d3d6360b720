// Durations: milliseconds, or a text with a unit.

/** A duration: a number of milliseconds, or a text such as `"250ms"`, `"2s"`, `"10m"` or `"1h"`. */
export type Duration = number | `${number}${"ms" | "s" | "m" | "h"}`;

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/**
 * The duration in milliseconds.
 *
 * @throws {TypeError} if it is negative or cannot be read. `name` is the option that the message names.
 */
export function milliseconds(duration: Duration, name: string): number {
  if (typeof duration === "number" && duration >= 0) return duration;
  const [, count, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(String(duration)) ?? [];
  if (count !== undefined && unit !== undefined) return Number(count) * UNITS[unit]!;
  throw new TypeError(`${name} is ${JSON.stringify(duration)}: write a number of milliseconds, or a text such as "2s"`);
}
