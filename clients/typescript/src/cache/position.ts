// Positions as numbers, for comparing fences: `EPOCH:OFFSET`.

/** A position in its parts. */
export interface Place {
  readonly epoch: string;
  readonly offset: number;
}

/** The parts of a position. */
export function place(position: string): Place {
  const colon = position.lastIndexOf(":");
  return { epoch: position.slice(0, colon), offset: Number(position.slice(colon + 1)) };
}
