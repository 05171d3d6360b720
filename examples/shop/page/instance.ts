// An instance of the shop, as the page calls it.

import type { Change } from "../shared/api.ts";

/** Written by the start program: see run/start.ts. */
declare const SHOP: { readonly instances: { readonly a: string; readonly b: string }; readonly bus: string };

export type Name = "a" | "b";
export const { instances: INSTANCES, bus: BUS_URL } = SHOP;
export const CUSTOMERS = { a: "ada", b: "ben" } as const;

/** How long an instance may take to answer, in milliseconds. */
const LIMIT_MS = 3_000;

/** What the instance answers. Throws if it does not. */
export async function get<Data>(name: Name, path: string, query: Record<string, string> = {}): Promise<Data> {
  const url = `${INSTANCES[name]}${path}?${new URLSearchParams(query)}`;
  const response = await fetch(url, { signal: AbortSignal.timeout(LIMIT_MS) });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return (await response.json()) as Data;
}

/**
 * Makes a change, and resolves with what the instance has against it, if anything. While the instance does not answer, the same
 * change is sent again: it has an id, so it is made once.
 */
export async function change(name: Name, change: Change): Promise<string | undefined> {
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(change) };
  for (;;) {
    const response = await fetch(`${INSTANCES[name]}/change`, init).catch(() => undefined);
    if (response?.ok) return undefined;
    if (response?.status === 409) return ((await response.json()) as { message: string }).message;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

/** An id for a change: `order-x7k2p`. */
export function newId(what: string): string {
  return `${what}-${Array.from(crypto.getRandomValues(new Uint8Array(5)), (byte) => (byte % 36).toString(36)).join("")}`;
}
