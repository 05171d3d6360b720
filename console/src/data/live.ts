// What the Live view has received: the newest events of the channels that it follows.
//
// The list is kept when another view is opened. The subscriptions are not: they end with the view and while the tab is hidden,
// and resume at their positions, so that nothing is missed that the log still has.

import { batch, signal } from "@preact/signals";
import type { ConnectionState, TidingsError } from "tidings-client";

import { type Entry, type Event, nextKey, Places } from "./entries.js";
import { json } from "./json.js";
import { bus, refused } from "./session.js";
import type { Followed } from "./snippets.js";

/** How many events and gaps are kept. */
export const KEPT = 5_000;

/** How often the list is drawn at most, in milliseconds: often enough for the eye, and seldom enough for 10,000 events a second. */
const DRAWN_MS = 100;

/** Oldest first. */
let entries: Entry[] = [];
/** What `held` gives. A new array each time that the list has changed. */
let shown: readonly Entry[] = [];
/** How many were received since the list was cleared. */
export const received = signal(0);
/** Rises when `held` has changed. */
export const version = signal(0);
/** Events a second, over the last two seconds. */
export const rate = signal(0);
export const state = signal<ConnectionState["status"] | "off">("off");
/** Why the connection does not come up, or was closed. */
export const trouble = signal<TidingsError | undefined>(undefined);
/** Channels that the daemon refused to follow, and why. */
export const refusals = signal<ReadonlyMap<string, TidingsError>>(new Map());

export const transport = (): string | undefined => bus.peek().transport;

/** What the list has now, oldest first. */
export const held = (): readonly Entry[] => shown;

/** Where to go on, by channel and filter. */
const positions = new Map<string, string>();
const placeOf = (followed: Followed, channel: string) => json.stringify([channel, followed.filters[channel] ?? null, followed.since]);

let places = new Places();
let total = 0;
let isScheduled = false;
let drawnAt = -Infinity;
/** When events came, in tenths of a second, and how many. */
let beats: [number, number][] = [];

function add(entry: Entry): void {
  entries.push(entry);
  total++;
  const tenth = Math.floor(performance.now() / 100);
  const last = beats.at(-1);
  if (last?.[0] === tenth) last[1]++;
  else beats.push([tenth, 1]);
  // Removed by the thousand: each time costs as much as the whole list.
  if (entries.length >= KEPT + 1_000) entries = entries.slice(-KEPT);
  schedule();
}

function schedule(): void {
  if (isScheduled) return;
  isScheduled = true;
  setTimeout(() => {
    isScheduled = false;
    drawnAt = performance.now();
    shown = entries.slice(-KEPT);
    batch(() => {
      received.value = total;
      version.value++;
    });
  }, Math.max(0, drawnAt + DRAWN_MS - performance.now()));
}

function measure(): void {
  const since = Math.floor(performance.now() / 100) - 20;
  beats = beats.filter(([tenth]) => tenth > since);
  rate.value = Math.round(beats.reduce((sum, [, count]) => sum + count, 0) / 2);
}

export function clear(): void {
  entries = [];
  places = new Places();
  total = 0;
  schedule();
}

/** Forgets where channels stand: the next `start` begins as its `since` says. */
export function restart(): void {
  positions.clear();
  clear();
}

/** Follows channels until the returned function is called. */
export function start(followed: Followed): () => void {
  const current = bus.value;
  const stops: (() => void)[] = [];
  refusals.value = new Map();
  trouble.value = undefined;
  const note = () => {
    const now = current.state;
    state.value = now.status;
    if ("error" in now && now.error) trouble.value = now.error;
    if (trouble.value?.code === "unauthenticated") refused.value = trouble.value;
    else if (now.status === "open") trouble.value = undefined;
  };
  stops.push(current.onState(note));
  stops.push(current.onGap(({ channel, from, position }) => add({ key: nextKey(), at: places.of(channel), channel, from, position })));
  for (const channel of followed.channels) {
    const where = followed.filters[channel];
    const place = placeOf(followed, channel);
    const since = positions.get(place) ?? (followed.since === "now" ? undefined : followed.since);
    const onError = (error: TidingsError) => (refusals.value = new Map([...refusals.peek(), [channel, error]]));
    const handler = (_: unknown, event: Event) => {
      const position = current.positionOf(event) ?? "";
      positions.set(place, position);
      add({ key: nextKey(), at: places.of(channel, event.time), channel, position, event });
    };
    stops.push(current.on(channel, { ...(where && { where: where as any }), ...(since !== undefined && { since }), onError }, handler as any));
    stops.push(() => {
      // Where there was no event, the client knows how far the channel was followed.
      const reached = current.positions.get(channel);
      if (reached !== undefined) positions.set(place, reached);
    });
  }
  const timer = setInterval(measure, 500);
  note();
  return () => {
    clearInterval(timer);
    // Positions are read before the subscriptions end.
    for (const stop of stops.reverse()) stop();
    state.value = "off";
    rate.value = 0;
  };
}
