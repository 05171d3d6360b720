// What the Live view has received: the newest events of the channels that it follows.
//
// The list is kept when another view is opened. The subscriptions are not: they end with the view and while the tab is hidden,
// and resume at their positions, so that nothing is missed that the log still has.
//
// A channel on which more happens than a page can show is sampled (`sample.ts`) until it is calm again.

import { batch, signal } from "@preact/signals";
import type { ConnectionState, TidingsError } from "tidings-client";

import { type Entry, type Event, nextKey, Places } from "./entries.js";
import { json } from "./json.js";
import { sample } from "./sample.js";
import { bus, refused } from "./session.js";
import type { Followed } from "./snippets.js";

/** How many events and gaps are kept. */
export const KEPT = 5_000;

/** How often the list is drawn at most, in milliseconds. */
const DRAWN_MS = 100;
/** How many events a second are followed one by one, over all channels, and how many more at once. */
const MOST = 500;
const BURST = 1_000;
/** The same where events are replayed: the log of a channel, and as much again. */
const REPLAY = 20_000;

/** Oldest first. */
let entries: Entry[] = [];
/** What `held` gives. A new array each time that the list has changed. */
let shown: readonly Entry[] = [];
/** How many events there were since the list was cleared. */
export const received = signal(0);
/** How many of them are not in the list, since they were too many at once. */
export const leftOut = signal(0);
/** Whether that is an estimate: the events of a filter. */
let isEstimate = false;
export const isAbout = (): boolean => isEstimate;
/** The channels that are sampled. */
export const sampled = signal<ReadonlySet<string>>(new Set());
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
let missing = 0;
let isScheduled = false;
let drawnAt = -Infinity;
/** When events came, in tenths of a second, and how many. */
let beats: [number, number][] = [];

/** Counts events. Those of a replay are no part of the rate: they happened before. */
function count(events: number, isReplay: boolean): void {
  total += events;
  if (isReplay) return;
  const tenth = Math.floor(performance.now() / 100);
  const last = beats.at(-1);
  if (last?.[0] === tenth) last[1] += events;
  else beats.push([tenth, events]);
}

function add(entry: Entry): void {
  entries.push(entry);
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
      leftOut.value = missing;
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
  total = missing = 0;
  isEstimate = false;
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
  /** How each channel is left. */
  const stops = new Map<string, () => void>();
  refusals.value = new Map();
  trouble.value = undefined;
  /** Whether it begins with events of the log. */
  const isOld = followed.since !== "now" || positions.size > 0;
  /** How many events may still come one by one. */
  let allowance = isOld ? REPLAY : BURST;
  let counts = new Map<string, number>();
  const ended = new AbortController();
  let isReplay = false;
  /** It ends with what the log has now. */
  const replay = () => {
    if (!isReplay) void current.sync({ signal: ended.signal }).catch(() => {}).then(() => (isReplay = false));
    isReplay = true;
  };
  const note = () => {
    const now = current.state;
    // What was missed meanwhile is replayed.
    if (now.status === "reconnecting") {
      allowance = REPLAY;
      // Where all channels are sampled, there is no connection that has to come back.
      if (sampled.peek().size < followed.channels.length) replay();
    }
    // An open connection alone brings no events: the daemon has to have answered for each channel.
    state.value = now.status === "open" ? "connecting" : now.status;
    if (now.status === "open") void current.ready({ signal: ended.signal }).then(() => (state.value = current.state.status), () => {});
    if ("error" in now && now.error) trouble.value = now.error;
    if (trouble.value?.code === "unauthenticated") refused.value = trouble.value;
    else if (now.status === "open") trouble.value = undefined;
  };
  const gap = (channel: string, from: string, position: string) => add({ key: nextKey(), at: places.of(channel), channel, from, position });
  const take = (channel: string, position: string, event: Event) => {
    positions.set(placeOf(followed, channel), position);
    count(1, isReplay);
    add({ key: nextKey(), at: places.of(channel, event.time), channel, position, event });
  };
  const refuse = (channel: string, error: TidingsError) => (refusals.value = new Map([...refusals.peek(), [channel, error]]));
  const listeners = [current.onState(note), current.onGap(({ channel, from, position }) => gap(channel, from, position))];
  const follow = (channel: string) => {
    const where = followed.filters[channel];
    const place = placeOf(followed, channel);
    const since = positions.get(place) ?? (followed.since === "now" ? undefined : followed.since);
    const handler = (_: unknown, event: Event) => {
      take(channel, current.positionOf(event) ?? "", event);
      counts.set(channel, (counts.get(channel) ?? 0) + 1);
      if (--allowance < 0) thin();
    };
    const options = { ...(where && { where: where as any }), ...(since !== undefined && { since }), onError: (error: TidingsError) => refuse(channel, error) };
    const stop = current.on(channel, options, handler as any);
    stops.set(channel, () => {
      // Where there was no event, the client knows how far the channel was followed.
      const reached = current.positions.get(channel);
      if (reached !== undefined) positions.set(place, reached);
      stop();
    });
  };
  /** Samples the busiest of the channels that are followed. */
  const thin = () => {
    const [channel] = [...counts].reduce((most, one) => (one[1] > most[1] ? one : most));
    stops.get(channel)!();
    counts = new Map();
    allowance = BURST;
    const mark = (isSampled: boolean) => (sampled.value = new Set([...sampled.peek()].filter((one) => one !== channel).concat(isSampled ? channel : [])));
    mark(true);
    const place = placeOf(followed, channel);
    stops.set(channel, sample(channel, followed.filters[channel], positions.get(place)!, {
      take: (events, before) => {
        if (before > 0) {
          missing += before;
          isEstimate ||= followed.filters[channel] !== undefined;
          count(before, isReplay);
          add({ key: nextKey(), at: places.of(channel), channel, from: positions.get(place)!, position: events[0]?.position ?? "", leftOut: before });
        }
        for (const { position, event } of events) take(channel, position, event);
      },
      gap: (from, position) => gap(channel, from, position),
      failed: (error) => {
        if (error?.status === 403 || error?.status === 422) (stops.get(channel)!(), mark(false), refuse(channel, error));
        else trouble.value = error;
      },
      calm: (position) => {
        positions.set(place, position);
        mark(false);
        follow(channel);
      },
    }));
  };
  followed.channels.forEach(follow);
  if (isOld) replay();
  const timer = setInterval(() => {
    measure();
    counts = new Map();
    if (allowance < BURST) allowance = Math.min(allowance + MOST / 2, BURST);
  }, 500);
  note();
  return () => {
    clearInterval(timer);
    ended.abort();
    beats = [];
    // Positions are read before the subscriptions end.
    for (const stop of [...stops.values(), ...listeners]) stop();
    sampled.value = new Set();
    state.value = "off";
    rate.value = 0;
  };
}
