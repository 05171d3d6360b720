// The types of answers of the daemon's HTTP routes, for programs that ask them with `fetch`. Types only: a bundle has none of it.

/** A channel, and where it stands: an entry of `channels` in the answer of `GET /v1/channels`. */
export interface ChannelInfo {
  /** The name of the channel, which is the type of its events. */
  readonly type: string;
  /** The URI of the JSON Schema of `data`. */
  readonly schema: string;
  /** The position of the newest event. */
  readonly position: string;
  /** How many events the log has. Absent, as all counts, if the token may see a part of the events only. */
  readonly retained?: number;
  /** How many connections of the node are subscribed. */
  readonly subscribers?: number;
  /** Events of all nodes in a second, averaged over the last ten seconds. */
  readonly ratePerSecond?: number;
  /** How many events were appended through the node since it started, with those of cascades. */
  readonly published?: number;
  /** How many events were published through the node whose `id` had been published before. */
  readonly duplicates?: number;
  /** How many events the node refused, for a mistake or a missing grant. */
  readonly refused?: number;
}
