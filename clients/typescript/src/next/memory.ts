// The memory of the handlers: what was used last stays, within a number of bytes.

export class Memory<Item extends { readonly size: number }> {
  /** The item that was used last is the last one. */
  readonly #items = new Map<string, Item>();
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get(key: string): Item | undefined {
    const item = this.#items.get(key);
    if (item !== undefined) {
      this.#items.delete(key);
      this.#items.set(key, item);
    }
    return item;
  }

  /** Stores an item in place of one with the same key. One that is larger than the whole memory is not stored. */
  set(key: string, item: Item): void {
    this.delete(key);
    if (item.size > this.#maxBytes) return;
    this.#items.set(key, item);
    this.#bytes += item.size;
    for (const oldest of this.#items.keys()) {
      if (this.#bytes <= this.#maxBytes) return;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    this.#bytes -= this.#items.get(key)?.size ?? 0;
    this.#items.delete(key);
  }
}

/** About how many bytes a value takes: texts and buffers, however deep. */
export function sizeOf(value: unknown): number {
  if (typeof value === "string") return 2 * value.length;
  if (typeof value !== "object" || value === null) return 8;
  if (ArrayBuffer.isView(value)) return value.byteLength;
  const parts = value instanceof Map ? [...value.keys(), ...value.values()] : Object.values(value);
  return parts.reduce<number>((sum, part) => sum + sizeOf(part), 64);
}
