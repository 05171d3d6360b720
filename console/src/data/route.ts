// The address of a view: `#/history?channel=order-status`. It is behind the `#`, so the console works below any path.

import { signal } from "@preact/signals";

export interface Route {
  readonly view: string;
  readonly query: URLSearchParams;
}

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { view: path || "live", query: new URLSearchParams(query) };
}

export const route = signal<Route>(read());

addEventListener("hashchange", () => (route.value = read()));

/** The address of a view, for a link. Parameters that are empty or undefined are left out. */
export function href(view: string, query: Readonly<Record<string, string | readonly string[] | undefined>> = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value ?? []].flat()) if (one !== "") parameters.append(name, one);
  }
  const text = parameters.toString();
  return `#/${view}${text && `?${text}`}`;
}

export function go(view: string, query?: Parameters<typeof href>[1]): void {
  location.hash = href(view, query);
}

/** Writes the state of the current view into the address, without a new entry in the history of the browser. */
export function note(view: string, query: Parameters<typeof href>[1]): void {
  const address = href(view, query);
  if (location.hash !== address) history.replaceState(null, "", address);
  route.value = read();
}
