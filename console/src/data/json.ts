// JSON whose numbers stay as they were written: 2^53 + 1, 1.10, 1E5.
//
// Most documents have only numbers that JavaScript writes as it reads them. The browser's own parser reads those.

import { isLosslessNumber, LosslessNumber, parse as parseExactly, stringify as write } from "lossless-json";

/** A number token that `String(Number(token))` may not give back: long, with an exponent, with zeros at its end, or -0. */
const SPECIAL = /(?:^|[:[,])\s*(?:-0(?![.\d])|-?(?:\d[\d.]{14}|0\.0{4}|\d+\.\d*0(?!\d)|[\d.]+[eE]))/;

/** A number as it was written. */
class Written extends LosslessNumber {
  /** For comparisons: the nearest double. Never throws. */
  override valueOf(): number {
    return Number(this.value);
  }
}

const INTEGER = /^-?(?:0|[1-9]\d*)$/;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$/;

/** The value of a number token: a number, or what keeps its digits. */
function number(text: string): number | bigint | LosslessNumber {
  const nearest = Number(text);
  if (String(nearest) === text) return nearest;
  return INTEGER.test(text) && text !== "-0" ? BigInt(text) : new Written(text);
}

/** The number that a person typed, or `undefined` if it is none. */
export function typedNumber(text: string): unknown {
  return NUMBER.test(text.trim()) ? number(text.trim()) : undefined;
}

/** Whether a value is a number, of whichever kind. */
export function isNumber(value: unknown): boolean {
  return typeof value === "number" || typeof value === "bigint" || isLosslessNumber(value);
}

/** Whether a value is an object with members: no array, no number. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !isLosslessNumber(value);
}

export const json = {
  /** @throws {SyntaxError} */
  parse(text: string): unknown {
    return SPECIAL.test(text) ? parseExactly(text, undefined, number) : JSON.parse(text);
  },
  stringify(value: unknown, indent?: number): string {
    return write(value, undefined, indent) ?? "null";
  },
};

/** The value at a JSON Pointer. */
export function at(value: unknown, pointer: readonly string[]): unknown {
  return pointer.reduce<unknown>((part, key) => (typeof part === "object" && part !== null ? (part as Record<string, unknown>)[key] : undefined), value);
}

/** Whether two values are the same JSON. */
export function same(a: unknown, b: unknown): boolean {
  if (isObject(a) && isObject(b)) {
    const keys = Object.keys(a);
    return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
  }
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((value, index) => same(value, b[index]));
  return a === b || (isNumber(a) && isNumber(b) && String(a) === String(b));
}

/** What a parser says of a text that is no JSON, with the line. */
export function whatIsWrong(text: string, cause: unknown): string {
  let message = cause instanceof Error ? cause.message : String(cause);
  try {
    // The browser's own parser says it better.
    JSON.parse(text);
  } catch (error) {
    message = (error as Error).message;
  }
  const at = /position (\d+)/.exec(message)?.[1];
  return `This is no JSON${at === undefined ? "" : ` (line ${text.slice(0, Number(at)).split("\n").length})`}: ${message.replace(/ in JSON at position.*| \(line.*/, "")}`;
}
