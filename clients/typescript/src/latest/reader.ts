// Reads the newest events over HTTP.

import { TidingsError } from "../errors.js";
import { readCursor } from "../fallback/cursor.js";
import { Requests } from "../fallback/requests.js";
import type { AnyWhere } from "../filter.js";
import type { CloudEvent } from "../generated/events.js";
import { TEMPORARY_STATUSES } from "../generated/protocol.js";
import type { LatestHost } from "./types.js";

/** An event, and its position in its channel. */
export interface Placed {
  readonly position: string;
  readonly event: CloudEvent;
}

/** The newest events of some subjects. */
export interface List {
  readonly events: readonly Placed[];
  /** Where the next list begins. After the last one, the channel's log goes on there. */
  readonly cursor: string;
  readonly more: boolean;
}

/** The fields that are the subjects of the built-in types. */
const KEYS: ReadonlyMap<string, string> = new Map([
  ["data-update", "id"], ["inventory-change", "productId"], ["order-status", "orderId"], ["finance-change", "id"],
]);
/** The most events of a list. */
const LIMIT = 1_000;

/** By bus and type: the field that is the subject, as far as it was asked for. */
const askedKeys = new WeakMap<LatestHost, Map<string, string | undefined>>();

/** The path of a route with a name. URLs have another meaning for some names (RFC 3986, section 5.2.4), and would be those of other routes. */
function pathOf(route: string, what: string, name: string): string {
  if (name === "" || name === "." || name === "..") {
    throw new TidingsError("bad-request", `no URL can have the ${what} ${JSON.stringify(name)}: use since: "latest" with a filter`);
  }
  return `${route}/${encodeURIComponent(name)}`;
}

/** The newest event of a subject. `undefined` if there is none. */
export async function readOne(host: LatestHost, type: string, subject: string, signal: AbortSignal): Promise<Placed | undefined> {
  const path = pathOf(pathOf("/v1/latest", "type", type), "subject", subject);
  try {
    const found = (await read(host, path, signal)) as Placed;
    host.subscriptions.remember(found.event, found.position);
    return found;
  } catch (error) {
    if ((error as Partial<TidingsError>).code === "not-found") return undefined;
    throw error;
  }
}

/** The newest events of the subjects of a type, after a cursor. */
export async function readList(host: LatestHost, type: string, where: AnyWhere | undefined, cursor: string | undefined, signal: AbortSignal): Promise<List> {
  const parameters = new URLSearchParams({ limit: String(LIMIT) });
  if (where !== undefined) parameters.set("where", host.json.stringify(where));
  if (cursor !== undefined) parameters.set("cursor", cursor);
  const list = (await read(host, `/v1/latest/${encodeURIComponent(type)}?${parameters.toString()}`, signal)) as List;
  for (const { event, position } of list.events) host.subscriptions.remember(event, position);
  return list;
}

/** The position that a cursor has in a channel. */
export function placeOf(cursor: string, type: string): string {
  return readCursor(cursor).get(type) ?? cursor;
}

/** The filter for the events of a subject: on the field of the data that is the subject, if the type has one that is a text. */
export async function filterOf(host: LatestHost, type: string, subject: string, signal: AbortSignal): Promise<AnyWhere | undefined> {
  let key = KEYS.get(type);
  if (key === undefined) {
    const asked = askedKeys.get(host) ?? new Map<string, string | undefined>();
    askedKeys.set(host, asked);
    if (!asked.has(type)) asked.set(type, textKey(await read(host, `/v1/schemas/${encodeURIComponent(type)}`, signal)));
    key = asked.get(type);
  }
  return key === undefined ? undefined : { [key]: subject };
}

function textKey(schema: unknown): string | undefined {
  const { properties, "x-tidings-key": key } = schema as { properties?: Record<string, { type?: unknown }>; "x-tidings-key"?: string };
  return key !== undefined && properties?.[key]?.type === "string" ? key : undefined;
}

/** Whether the same request may succeed later. */
export function isTransient(error: unknown): error is TidingsError {
  if (!(error instanceof TidingsError)) return false;
  const { code, status } = error;
  return code === "network" || code === "timeout" || code === "no-token" || (status !== undefined && TEMPORARY_STATUSES.has(status));
}

/** Reads from a node, and from the next one if that fails for the moment. */
async function read(host: LatestHost, path: string, signal: AbortSignal): Promise<unknown> {
  let failure: unknown;
  for (const base of host.urls) {
    try {
      return await readFrom(host, base, path, signal);
    } catch (error) {
      if (!isTransient(error)) throw error;
      failure = error;
    }
  }
  throw failure;
}

/** Reads with the token that is held. If the daemon refuses that one, a new one is tried once. */
async function readFrom({ credential, fetch, json, timers }: LatestHost, base: string, path: string, signal: AbortSignal): Promise<unknown> {
  const requests = new Requests(base, fetch, json, timers);
  const token = await credential?.get();
  requests.token = token?.text;
  try {
    return await requests.get(path, signal);
  } catch (error) {
    if (token === undefined || (error as Partial<TidingsError>).status !== 401) throw error;
    credential?.refused(token.text);
    if (token.isNew || credential?.isRenewable !== true) throw error;
    requests.token = (await credential.get()).text;
    return requests.get(path, signal);
  }
}
