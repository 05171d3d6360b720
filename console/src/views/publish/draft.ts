// The message that is being written, and the messages that were saved. Both outlive a change of the view.

import { signal } from "@preact/signals";

import { isObject, json } from "../../data/json.js";
import { base } from "../../data/session.js";

/** The attributes of an event that a person may give, beside type and data. */
export interface Draft {
  readonly type: string;
  /** `undefined`: begin with an example. */
  readonly data: unknown;
  readonly subject: string | undefined;
  readonly source: string;
  readonly id?: string;
  /** Others, such as `traceparent`: their names and values. */
  readonly extensions?: Readonly<Record<string, string>>;
}

export const draft = signal<Draft | undefined>(undefined);

/** Begins with this message when the view is opened. */
export function prefill(message: Draft): void {
  draft.value = message;
}

export interface Saved {
  readonly name: string;
  readonly draft: Draft;
}

const STORED = `tidings:${new URL(base).pathname}:saved`;

function read(): readonly Saved[] {
  try {
    const stored = json.parse(localStorage.getItem(STORED) ?? "[]");
    return Array.isArray(stored) ? stored.filter((one) => isObject(one) && typeof one["name"] === "string" && isObject(one["draft"])) : [];
  } catch {
    return [];
  }
}

export const saved = signal<readonly Saved[]>(read());

function store(messages: readonly Saved[]): void {
  saved.value = messages;
  try {
    localStorage.setItem(STORED, json.stringify(messages));
  } catch {
    // Full or forbidden: they last until the page is closed.
  }
}

/** Saves a message under a name. One of this name is replaced. */
export function save(name: string, message: Draft): void {
  store([...saved.value.filter((one) => one.name !== name), { name, draft: message }].sort((a, b) => a.name.localeCompare(b.name)));
}

export function forget(name: string): void {
  store(saved.value.filter((one) => one.name !== name));
}
