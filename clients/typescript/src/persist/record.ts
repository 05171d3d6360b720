// What is stored of a subscription, and its format: its position, and the newest event of each subject up to there.
//
// Nothing in a storage can be trusted. Another version of the client may have written it, somebody may have edited it, or a write
// was cut. A text that is not a record of this version is dropped.

import type { CloudEvent } from "../generated/events.js";
import { reaches } from "../position.js";

/** The version of the format. A record of another version is dropped. */
const VERSION = 1;

/** A stored event. */
export class Value {
  readonly position: string;
  readonly event: CloudEvent;
  /** When it was received, or a later time, by the clock of the computer, in milliseconds since 1970. */
  readonly at: number;
  #text: string | undefined;

  constructor(position: string, event: CloudEvent, at: number) {
    this.position = position;
    this.event = event;
    this.at = at;
  }

  /** As it is stored. Made once: most values do not change from one write to the next. */
  get text(): string {
    this.#text ??= JSON.stringify([this.position, this.event]);
    return this.#text;
  }
}

/** What is stored of a subscription. */
export interface StoredRecord {
  /** When the bus last received something, by the clock of the computer, in milliseconds since 1970. */
  readonly at: number;
  /** Everything up to here was given to the subscribers, and they have finished with it. */
  readonly position: string;
  /** The newest event of each subject, the one that changed last at the end. */
  readonly values: readonly Value[];
}

/** The text of a record of at most `maxLength` UTF-16 code units. Values that changed longest ago are left out. */
export function writeRecord({ at, position, values }: StoredRecord, maxLength: number): string {
  const head = `{"v":${VERSION},"at":${at},"position":${JSON.stringify(position)},"events":[`;
  const kept: string[] = [];
  let length = head.length + 2;
  for (const { text } of [...values].reverse()) {
    length += text.length + 1;
    if (length > maxLength) break;
    kept.unshift(text);
  }
  return `${head}${kept.join(",")}]}`;
}

/** When the record in this text was last added to. `NaN` if it is none. */
export function timeOf(text: string): number {
  return Number(/"at":(\d+)/.exec(text)?.[1]);
}

/** The record of a channel in this text. `undefined` if it is damaged, of another version, or not of the last `maxAgeMs`. */
export function readRecord(text: string, channel: string, maxAgeMs: number): StoredRecord | undefined {
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(record) || record["v"] !== VERSION) return undefined;
  const { at, position, events } = record;
  // A time in the future is that of a clock that was set back since.
  if (typeof at !== "number" || !(Math.abs(Date.now() - at) <= maxAgeMs)) return undefined;
  if (!isPosition(position) || !Array.isArray(events)) return undefined;
  const values: Value[] = [];
  for (const entry of events as unknown[]) {
    const pair: readonly unknown[] = Array.isArray(entry) ? entry : [];
    const [place, event] = pair;
    if (!isPosition(place) || !isEvent(event, channel)) return undefined;
    values.push(new Value(place, event, at));
  }
  return { at, position, values };
}

/**
 * Whether a stored record is newer than the one that a page has, so that the page leaves it: another tab, which shares the
 * storage, is ahead. Positions of different epochs cannot be compared: the page that received something last knows the newer one.
 */
export function isNewer(stored: StoredRecord, own: StoredRecord): boolean {
  if (reaches(own.position, stored.position)) return false;
  return reaches(stored.position, own.position) || stored.at > own.at;
}

/** `EPOCH:OFFSET`, the form by which the client compares positions. The daemon checks the rest. */
function isPosition(value: unknown): value is string {
  return typeof value === "string" && /^[^:]+:\d+$/.test(value);
}

function isEvent(value: unknown, channel: string): value is CloudEvent {
  const isOfChannel = isObject(value) && value["type"] === channel && "data" in value;
  return isOfChannel && typeof value["id"] === "string" && typeof value["subject"] === "string";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
