// The seam between a bus and what reads the newest events (`latest/index.ts`). Types only: the code is loaded when it is needed.

import type { JsonCodec } from "../json.js";
import type { Progress } from "../progress.js";
import type { FetchLike } from "../publish.js";
import type { Reports } from "../reports.js";
import type { Subscriptions } from "../subscriptions.js";
import type { Timers } from "../timers.js";
import type { Credential } from "../token.js";

/** What the newest events need of a bus. */
export interface LatestHost {
  /** The address of each node. At least one. */
  readonly urls: readonly string[];
  readonly credential: Credential | undefined;
  readonly fetch: FetchLike;
  readonly json: JsonCodec;
  readonly timers: Timers;
  /** Aborted when the bus is closed. */
  readonly closed: AbortSignal;
  readonly subscriptions: Pick<Subscriptions, "add" | "reached" | "positionOf" | "remember">;
  readonly progress: Progress;
  readonly reports: Reports;
}
