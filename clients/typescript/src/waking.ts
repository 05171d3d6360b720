// When a page wakes up, and when it goes into the back/forward cache of the browser.
//
// Timers of a hidden page run late, and those of a frozen one not at all. So a page that becomes visible may wait for a delay that
// nobody needs any more, or hold a connection that is dead. The events tell sooner than any timer.
//
// There is no listener for `unload` or `beforeunload`: a page with one is kept out of that cache.

export interface Waking {
  /** The page is visible again, the network is back, or the page comes from the cache. */
  readonly wake: () => void;
  /** The page goes, perhaps into the cache: an open connection would keep it out, or be cut there. */
  readonly suspend: () => void;
}

/** Listens to the page, if there is one. Returns a function that ends it. */
export function onWaking({ wake, suspend }: Waking): () => void {
  const stops: (() => void)[] = [];
  const listen = (target: unknown, type: string, listener: (event: { persisted?: boolean }) => void) => {
    // React Native has a `window` without events, and a worker has no `document`.
    const { addEventListener, removeEventListener } = Object(target) as Partial<EventTarget>;
    if (addEventListener === undefined || removeEventListener === undefined) return;
    addEventListener.call(target, type, listener as EventListener);
    stops.push(() => removeEventListener.call(target, type, listener as EventListener));
  };
  const page = (globalThis as { document?: Document }).document;
  listen(page, "visibilitychange", () => page?.visibilityState === "visible" && wake());
  listen(page, "resume", wake);
  listen(globalThis, "online", wake);
  listen(globalThis, "pageshow", ({ persisted }) => persisted && wake());
  listen(globalThis, "pagehide", suspend);
  return () => stops.forEach((stop) => stop());
}
