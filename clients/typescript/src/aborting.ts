// How an `AbortSignal` of the application ends what it was passed to.

/** Calls `abort` when the signal is aborted, or at once if it is. Returns a function that forgets about the signal. */
export function onAbort(signal: AbortSignal | undefined, abort: () => void): () => void {
  if (signal?.aborted) abort();
  else signal?.addEventListener("abort", abort);
  return () => signal?.removeEventListener("abort", abort);
}
