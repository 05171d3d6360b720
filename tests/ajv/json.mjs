// Writes JSON text with the exact form of its numbers: JSON.stringify cannot write `5.0` or `9007199254740993`.

/** A number in its written form. */
export class Written {
  constructor(text) {
    this.text = text;
  }
}

export function write(value) {
  if (value instanceof Written) return value.text;
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`;
  if (value !== null && typeof value === "object") {
    return `{${Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}:${write(member)}`).join(",")}}`;
  }
  if (value === undefined) throw new TypeError("undefined is not JSON");
  return JSON.stringify(value);
}
