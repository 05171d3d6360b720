// How fast each channel grows, from its position: offsets rise by one with each event. Kept while the page is open.

import { split } from "./entries.js";

/** How far back samples are kept, in seconds. */
export const SPAN = 15 * 60;
/** How often the channels are asked for, in milliseconds. */
export const EVERY_MS = 2_000;

interface Sample {
  /** Seconds since 1970. */
  readonly at: number;
  readonly positions: ReadonlyMap<string, string>;
}

let samples: Sample[] = [];

/** Notes where the channels stand. */
export function sample(positions: ReadonlyMap<string, string>): void {
  const at = Date.now() / 1_000;
  samples = [...samples.filter((one) => one.at > at - SPAN), { at, positions }];
}

/** When the measurement began, in milliseconds since 1970. `undefined` where it is as long as samples are kept. */
export function measuredSince(): number | undefined {
  const first = samples[0];
  return first && first.at > Date.now() / 1_000 - SPAN + 10 ? first.at * 1_000 : undefined;
}

/** Forgets all: another token may see other channels. */
export function forgetRates(): void {
  samples = [];
}

/** Events a second between two samples. `undefined` where it is not known. */
function between(before: Sample, after: Sample, channel: string): number | undefined {
  const [from, to] = [before.positions.get(channel), after.positions.get(channel)];
  if (from === undefined || to === undefined) return undefined;
  const [[itsEpoch, itsOffset], [epoch, offset]] = [split(from), split(to)];
  const seconds = after.at - before.at;
  if (itsEpoch !== epoch || seconds <= 0) return undefined;
  return Number(offset - itsOffset) / seconds;
}

/** Events a second of a channel over about the last five seconds. */
export function rateOf(channel: string): number | undefined {
  const last = samples.at(-1);
  const before = samples.findLast((one) => last && one.at <= last.at - 4) ?? samples[0];
  return last && before && before !== last ? between(before, last, channel) : undefined;
}

/** The rates of channels over time, for a chart: times, then one row for each channel. A break while the tab was hidden. */
export function series(channels: readonly string[]): [number[], ...(number | null)[][]] {
  const times: number[] = [];
  const rows: (number | null)[][] = channels.map(() => []);
  for (let index = 1; index < samples.length; index++) {
    const [before, after] = [samples[index - 1]!, samples[index]!];
    const isBreak = after.at - before.at > (3 * EVERY_MS) / 1_000;
    times.push(after.at);
    channels.forEach((channel, row) => rows[row]!.push(isBreak ? null : (between(before, after, channel) ?? null)));
  }
  return [times, ...rows];
}
