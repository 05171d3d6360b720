// How a bus reads and writes JSON.

/** The part of `JSON` that a bus uses for frames, events and filters. */
export interface JsonCodec {
  /** The value of a JSON text. Throws if it is none. */
  parse(text: string): unknown;
  /** The JSON text of a value. */
  stringify(value: unknown): string;
}
