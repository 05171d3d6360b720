// Compares positions: the position of an event in its channel is `EPOCH:OFFSET`.
//
// Applications treat a position as opaque. The client compares them, so that no handler receives an event twice.

/** Whether `position` is equal to `other` or after it. False if their epochs differ, since they cannot be compared then. */
export function reaches(position: string, other: string): boolean {
  if (position === other) return true;
  const epoch = position.slice(0, position.indexOf(":") + 1);
  if (epoch === "" || !other.startsWith(epoch)) return false;
  // Offsets have no leading zeros, so the longer text is the higher number. This also works above 2^53.
  return position.length === other.length ? position > other : position.length > other.length;
}

/** The position before this one, which is that of an event. */
export function before(position: string): string {
  const at = position.indexOf(":") + 1;
  return `${position.slice(0, at)}${BigInt(position.slice(at)) - 1n}`;
}
