// The daemon that serves this page, the token for it, and requests to it.
//
// The token is kept in the browser's session storage: it ends with the tab. It is sent in a header, and never in a URL.

import { effect, signal } from "@preact/signals";
import { type Bus, connect, TidingsError } from "tidings-client";

import { json } from "./json.js";

/** The address of the daemon: where this page is, without a `/` at the end. */
export const base = new URL(".", location.href.replace(/[?#].*/s, "")).href.replace(/\/$/, "");

const STORED = `tidings:${new URL(base).pathname}:token`;

/** Whether the address brought a token that cannot be read, and none has been given since. */
export const unreadable = signal(false);

/** Takes the token of `#token=…` out of the address, so that it is in no history and no screenshot. */
function fromAddress(): string | undefined {
  const match = /^#token=([^&]+)/.exec(location.hash);
  if (!match?.[1]) return undefined;
  history.replaceState(null, "", "#/live");
  dispatchEvent(new HashChangeEvent("hashchange"));
  try {
    return decodeURIComponent(match[1]).trim();
  } catch {
    // A `%` that begins no escape: the link was cut or changed on its way.
    unreadable.value = true;
    return undefined;
  }
}

export const token = signal<string>(fromAddress() ?? sessionStorage.getItem(STORED) ?? "");
addEventListener("hashchange", () => {
  const given = fromAddress();
  if (given) token.value = given;
});

/** Why the daemon wants a (better) token, if it does. */
export const refused = signal<TidingsError | undefined>(undefined);

/** Everything that is published or followed goes through this client. */
export const bus = signal<Bus<Record<string, any>>>(open());

function open(): Bus<Record<string, any>> {
  const opened = connect<Record<string, any>>(base, { json, idleTimeoutMs: 1_000, ...(token.peek() && { token: token.peek() }) });
  // Views show errors themselves.
  opened.onError(() => {});
  return opened;
}

let known = token.peek();
if (known) sessionStorage.setItem(STORED, known);
effect(() => {
  const now = token.value;
  if (now === known) return;
  known = now;
  unreadable.value = false;
  if (now) sessionStorage.setItem(STORED, now);
  else sessionStorage.removeItem(STORED);
  refused.value = undefined;
  bus.peek().close();
  bus.value = open();
});

/** What the console shows of a token: whose it is, and when it ends. Nothing is verified here. */
export function about(text: string): { readonly name: string; readonly ends?: Date } {
  if (text.startsWith("tdg_")) return { name: `API key ${text.split("_")[1] ?? ""}` };
  try {
    const claims = text.split(".")[1] ?? "";
    const bytes = Uint8Array.from(atob(claims.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
    const { sub, exp } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown; exp?: unknown };
    return { name: typeof sub === "string" ? sub : "token", ...(typeof exp === "number" && { ends: new Date(exp * 1_000) }) };
  } catch {
    return { name: "token" };
  }
}

type Parameters = Readonly<Record<string, string | number | readonly string[] | undefined>>;

/**
 * Asks the daemon. `also` are statuses whose answer is a result, too.
 *
 * @throws {TidingsError} if it refuses or cannot be reached.
 */
export async function get<Answer>(path: string, parameters: Parameters = {}, { abort, also = [] }: { abort?: AbortSignal | undefined; also?: readonly number[] } = {}): Promise<Answer> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value ?? []].flat()) query.append(name, String(one));
  }
  const url = `${base}/${path}${query.size > 0 ? `?${query}` : ""}`;
  const used = token.peek();
  let response: Response;
  let body: any;
  try {
    const headers: Record<string, string> = { accept: "application/json", ...(used && { authorization: `Bearer ${used}` }) };
    response = await fetch(url, { headers, cache: "no-store", credentials: "omit", ...(abort && { signal: abort }) });
    body = await response.text();
  } catch (cause) {
    abort?.throwIfAborted();
    throw new TidingsError("network", "The daemon does not answer. It may be restarting, or the network is down.", { cause });
  }
  try {
    body = json.parse(body);
  } catch {
    body = undefined;
  }
  if ((response.ok && body !== undefined) || also.includes(response.status)) return body as Answer;
  const { code = "unexpected-response", detail = `the answer has the status ${response.status}`, errors } = body ?? {};
  const error = new TidingsError(code, detail, { status: response.status, errors, requestId: response.headers.get("x-request-id") ?? undefined });
  if (response.status === 401 && used === token.peek()) refused.value = error;
  throw error;
}
