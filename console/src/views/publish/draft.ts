// The message that is being written, and the messages that were saved. Both outlive a change of the view.

import { signal } from "@preact/signals";
import type { TidingsError } from "tidings-client";

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

/** What is known of the message until the daemon has accepted it. */
export interface Attempt {
  /** The id of the event. It stays, so that the message is published once, however often it is sent. */
  readonly id: string;
  /** The message as it was sent when its outcome was unknown for the first time, as text. */
  readonly sent?: string;
  /** Why the outcome is unknown. */
  readonly error?: TidingsError;
}

export const attempt = signal<Attempt | undefined>(undefined);
/** Whether it is on its way. */
export const isSending = signal(false);

/** Begins with this message, or with an example. */
export function begin(message: Draft | undefined): void {
  draft.value = message;
  attempt.value = undefined;
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
