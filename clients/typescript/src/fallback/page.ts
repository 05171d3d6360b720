// One answer of the log, taken apart: its events and gaps in the order of each channel.

import type { JsonCodec } from "../json.js";
import { reaches } from "../position.js";
import type { Gap } from "../subscription.js";
import { readCursor } from "./cursor.js";
import type { Page, Positions } from "./requests.js";

/** Receives the parts of an answer. */
export interface PageSink {
  event(channel: string, position: string, json: string): void;
  gap(gap: Gap): void;
  reached(positions: Positions): void;
}

export function deliverPage({ events, cursor, gap }: Page, json: JsonCodec, sink: PageSink): void {
  const gaps = new Set(gap === false ? [] : gap);
  for (const { position, event } of events) {
    for (const lost of gaps) {
      // A gap is before the first event after its range.
      if (lost.channel !== event.type || reaches(lost.from, position)) continue;
      gaps.delete(lost);
      sink.gap(lost);
    }
    sink.event(event.type, position, json.stringify(event));
  }
  gaps.forEach((lost) => sink.gap(lost));
  sink.reached(readCursor(cursor));
}
