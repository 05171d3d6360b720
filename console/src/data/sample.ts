// A channel on which more happens than a page can show: the newest events of each moment, and how many were left out.
//
// The history is asked four times a second. Offsets rise by one with each event, so positions tell how many were between two
// answers. With a filter it is not known how many of those match it: the same part as of the events that were read.

import type { TidingsError } from "tidings-client";

import { type Page, split } from "./entries.js";
import { json } from "./json.js";
import { get } from "./session.js";
import type { Where } from "./snippets.js";

/** How often the history is asked, in milliseconds. */
const EVERY_MS = 250;
/** All events that came meanwhile are shown if there are at most so many. Otherwise so many of them. */
const [ALL, SOME] = [100, 20];
/** How often in a row all must have been shown before the channel is followed again. */
const CALM = 8;

export interface Sampled {
  /** Takes events, and how many before them are left out. */
  readonly take: (events: Page["events"], leftOut: number) => void;
  readonly gap: (from: string, position: string) => void;
  /** The daemon does not answer, or refuses; `undefined` when it answers again. */
  readonly failed: (error: TidingsError | undefined) => void;
  /** Every event after `position` can be shown again. */
  readonly calm: (position: string) => void;
}

/** Reads a channel from a position on until the returned function is called. */
export function sample(channel: string, where: Where | undefined, position: string, { take, gap, failed, calm }: Sampled): () => void {
  const abort = new AbortController();
  let timer: ReturnType<typeof setTimeout>;
  /** Whether more events are behind the position than an answer has. */
  let isBehind = true;
  let calmFor = 0;
  /** The part of the events that match the filter. */
  let share = 1;
  const read = async (since: string, limit: number) => {
    const page = await get<Page>("v1/events", { channel, since, limit, ...(where && { where: json.stringify(where) }) }, { abort: abort.signal });
    return { ...page, end: page.cursor.slice(channel.length + 1) };
  };
  const step = async () => {
    let since = position;
    const [known, before] = split(position);
    if (isBehind) {
      const [epoch, head] = split((await read("now", 1)).end);
      const begin = head - BigInt(Math.round(SOME / share));
      isBehind = epoch !== known || Number(head - before) * share > ALL;
      if (isBehind) since = `${epoch}:${begin > 0n ? begin : 0n}`;
      if (epoch !== known) gap(position, since);
    }
    const { events, end, gap: lost } = await read(since, isBehind ? SOME : ALL);
    // The log may have lost the beginning since it was asked for its end.
    if (lost && !isBehind) gap(position, lost[0]!.position);
    const [epoch, begin] = split(lost ? lost[0]!.position : since);
    const span = Number(split(end)[1] - begin);
    if (where && span > 0) share = Math.min(1, Math.max(events.length / span, 0.01));
    take(events, isBehind && epoch === known ? Math.round(Number(begin - before) * share) : 0);
    position = end;
    isBehind ||= events.length === ALL;
    calmFor = isBehind ? 0 : calmFor + 1;
  };
  const ask = async () => {
    try {
      await step();
      failed(undefined);
    } catch (error) {
      if (!abort.signal.aborted) failed(error as TidingsError);
      calmFor = 0;
    }
    if (abort.signal.aborted) return;
    if (calmFor < CALM) timer = setTimeout(ask, EVERY_MS);
    else calm(position);
  };
  void ask();
  return () => (clearTimeout(timer), abort.abort());
}
