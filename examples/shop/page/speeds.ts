// How long a change takes from the click until both sides show it.

import { useSyncExternalStore } from "react";

import type { Name } from "./instance.ts";

export interface Timed {
  readonly text: string;
  readonly at: Name;
  readonly clickedAt: number;
  /** Milliseconds until each side showed it. */
  readonly after: { readonly [name in Name]?: number };
}

let newest: Timed | undefined;
let newestKey = "";
const listeners = new Set<() => void>();

function set(timed: Timed): void {
  newest = timed;
  for (const listener of listeners) listener();
}

const key = (orderId: string, status: string) => `${orderId} is ${status}`;

/** Somebody has ordered, or set the status of an order. */
export function clicked(orderId: string, status: string, at: Name): void {
  newestKey = key(orderId, status);
  set({ text: newestKey, at, clickedAt: performance.now(), after: {} });
}

/** A side shows an order with this status. */
export function seen(orderId: string, status: string, name: Name): void {
  if (newest === undefined || newestKey !== key(orderId, status) || newest.after[name] !== undefined) return;
  set({ ...newest, after: { ...newest.after, [name]: performance.now() - newest.clickedAt } });
}

export function useNewest(): Timed | undefined {
  return useSyncExternalStore((listener) => (listeners.add(listener), () => void listeners.delete(listener)), () => newest);
}
