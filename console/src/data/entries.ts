// Events and gaps, as lists show them.

import { json } from "./json.js";
import { get } from "./session.js";

/** A CloudEvent, as the daemon delivers it. */
export interface Event {
  readonly id: string;
  readonly type: string;
  readonly source: string;
  readonly time: string;
  readonly subject?: string;
  readonly data: unknown;
  readonly causationid?: string;
  readonly [attribute: string]: unknown;
}

interface Placed {
  /** Unique in its list, rising. */
  readonly key: number;
  /** Its place among the events of other channels: its time, but never before the event before it of its own channel. */
  readonly at: number;
}

export interface EventEntry extends Placed {
  readonly channel: string;
  readonly position: string;
  readonly event: Event;
}

/** A lost range: what is after `from`, up to and including `position`. */
export interface GapEntry extends Placed {
  readonly channel: string;
  readonly position: string;
  readonly from: string;
  /** How many events between the two the list leaves out, where the log has them. */
  readonly leftOut?: number;
}

export type Entry = EventEntry | GapEntry;

export const isGap = (entry: Entry): entry is GapEntry => "from" in entry;

let count = 0;
export const nextKey = (): number => ++count;

/** An answer of `GET /v1/events`. */
export interface Page {
  readonly events: readonly { readonly position: string; readonly event: Event }[];
  readonly cursor: string;
  readonly gap: false | readonly { readonly channel: string; readonly from: string; readonly position: string }[];
}

/** Gives entries their places, channel by channel. */
export class Places {
  readonly #last = new Map<string, number>();

  of(channel: string, time?: string): number {
    const before = this.#last.get(channel) ?? 0;
    const at = Math.max(before, (time && Date.parse(time)) || 0);
    this.#last.set(channel, at);
    return at;
  }
}

/** The entries of an answer. A gap stands before the first event of its channel that is after it. */
export function entriesOf({ events, gap }: Page, places: Places = new Places()): Entry[] {
  const gaps = new Map((gap || []).map((lost) => [lost.channel, lost]));
  const entries: Entry[] = [];
  for (const { position, event } of events) {
    const lost = gaps.get(event.type);
    if (lost) entries.push({ key: nextKey(), at: places.of(lost.channel), ...lost });
    gaps.delete(event.type);
    entries.push({ key: nextKey(), at: places.of(event.type, event.time), channel: event.type, position, event });
  }
  for (const lost of gaps.values()) entries.push({ key: nextKey(), at: places.of(lost.channel), ...lost });
  return entries;
}

/** The event at a position, from the log. `undefined` if the log does not have it any more. */
export async function eventAt(channel: string, position: string, abort?: AbortSignal): Promise<EventEntry | undefined> {
  const [epoch, offset] = split(position);
  const since = `${epoch}:${offset - 1n}`;
  const page = await get<Page>("v1/events", { channel, since, limit: 1 }, { abort });
  const found = page.events.find((one) => one.position === position);
  return found && { key: nextKey(), at: 0, channel, position, event: found.event };
}

/** The epoch and the offset of a position. */
export function split(position: string): [string, bigint] {
  const [epoch = "", offset = "0"] = position.split(":");
  return [epoch, /^\d+$/.test(offset) ? BigInt(offset) : 0n];
}

/** The events of several entries as NDJSON: `{"position","event"}` a line, as `tidings tail --json` prints them. */
export function ndjson(entries: readonly Entry[]): string {
  return entries.flatMap((entry) => (isGap(entry) ? [] : [`${json.stringify({ position: entry.position, event: entry.event })}\n`])).join("");
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** The time of day; with the date where it is not today. */
export function clock(time: string): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  const text = CLOCK.format(date);
  return date.toDateString() === new Date().toDateString() ? text : `${DAY.format(date)}, ${text}`;
}

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** How long ago a time is: `3 minutes ago`. */
export function ago(time: string | Date): string {
  const seconds = (new Date(time).getTime() - Date.now()) / 1_000;
  for (const [unit, size] of [["day", 86_400], ["hour", 3_600], ["minute", 60]] as const) {
    if (Math.abs(seconds) >= size) return RELATIVE.format(Math.trunc(seconds / size), unit);
  }
  return RELATIVE.format(Math.trunc(seconds), "second");
}

const COUNT = new Intl.NumberFormat("en");
/** A count with separators of thousands. */
export const counted = (value: number | bigint): string => COUNT.format(value);

/** A size: `1.2 MiB`. */
export function bytes(size: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (size >= 1024 && unit < 3) (size /= 1024), unit++;
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}
