// Where an event stands in its channel: `EPOCH:OFFSET`.
//
// For programs a position is opaque. Here two of one epoch are compared, so that nobody gets what he already has.

/** Whether `position` is `other` or after it. Positions of different epochs cannot be compared: then it is false. */
export function reaches(position: string, other: string): boolean {
  if (position === other) return true;
  const epoch = position.slice(0, position.indexOf(":") + 1);
  if (epoch === "" || !other.startsWith(epoch)) return false;
  // No offset begins with a 0 (but 0 itself), so the longer one is the higher, and no number is too large for this.
  return position.length === other.length ? position > other : position.length > other.length;
}
