// Cursors: the positions of several channels in one text, `CHANNEL=POSITION,CHANNEL=POSITION`.
//
// The daemon packs a cursor of more than 1,000 bytes, which only a daemon can read. So no request names so many channels.

/** The most bytes of a cursor that is not packed. */
const MAX_BYTES = 1_000;
/** The most bytes of a position, with the two characters around it. */
const POSITION_BYTES = 40;

/** Writes a cursor. */
export function writeCursor(positions: Iterable<readonly [channel: string, position: string]>): string {
  return [...positions].map(([channel, position]) => `${channel}=${position}`).join(",");
}

/** Reads a cursor. Returns no position for a packed one. */
export function readCursor(text: string): Map<string, string> {
  const positions = new Map<string, string>();
  for (const part of text.split(",")) {
    const at = part.indexOf("=");
    if (at > 0) positions.set(part.slice(0, at), part.slice(at + 1));
  }
  return positions;
}

/** Splits channels into groups whose cursors are never packed. */
export function groups(channels: Iterable<string>): string[][] {
  const groups: string[][] = [];
  let left = 0;
  for (const channel of channels) {
    const bytes = channel.length + POSITION_BYTES;
    if (bytes > left) {
      groups.push([]);
      left = MAX_BYTES;
    }
    left -= bytes;
    groups.at(-1)!.push(channel);
  }
  return groups;
}

/** The log of a position. */
export function epoch(position: string): string {
  return position.slice(0, position.indexOf(":"));
}

/** The number of a position in its log. */
export function offset(position: string): number {
  return Number(position.slice(position.indexOf(":") + 1));
}
