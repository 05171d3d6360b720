// JSON text with numbers as they are to be written: `5.0` and `9007199254740993` are lost on JSON.stringify.

/** A number by its text. */
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
  if (value === undefined) throw new TypeError("undefined is no JSON");
  return JSON.stringify(value);
}
