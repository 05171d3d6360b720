// Writes JSON text with the exact form of its numbers: JSON.stringify cannot write `5.0` or `9007199254740993`.

/** A number in its written form. */
export class Written {
  constructor(text) {
    this.text = text;
  }
}

/** Marks an object whose member of this name is written twice. */
export const TWICE = Symbol("twice");

export function write(value) {
  if (value instanceof Written) return value.text;
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const names = Object.keys(value).concat(value[TWICE] ?? []);
    return `{${names.map((name) => `${JSON.stringify(name)}:${write(value[name])}`).join(",")}}`;
  }
  if (value === undefined) throw new TypeError("undefined is not JSON");
  return JSON.stringify(value);
}
