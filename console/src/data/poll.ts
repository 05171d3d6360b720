// Asks the daemon again and again, while somebody can see the answer. A hidden tab asks for nothing.

import { signal } from "@preact/signals";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { TidingsError } from "tidings-client";

import { token } from "./session.js";

/** Whether the tab is visible. */
export const visible = signal(document.visibilityState === "visible");
document.addEventListener("visibilitychange", () => (visible.value = document.visibilityState === "visible"));

/** Statuses that stay until something else changes: no (valid) token, not granted, no such route. */
const FINAL: ReadonlySet<number | undefined> = new Set([401, 403, 404]);

export interface Polled<Answer> {
  readonly data: Answer | undefined;
  readonly error: TidingsError | undefined;
  /** Asks now. */
  readonly reload: () => void;
}

/**
 * What `load` answers: asked at once, then every `everyMs` (0: once), and again when `key` changes. After a failure, the last
 * answer stays.
 */
export function usePoll<Answer>(load: (abort: AbortSignal) => Promise<Answer>, everyMs: number, key = ""): Polled<Answer> {
  const [state, setState] = useState<{ key?: string; data?: Answer; error?: TidingsError | undefined }>({});
  const [round, setRound] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const [shown, holder] = [visible.value, token.value];
  const whole = `${holder}\n${key}`;
  useEffect(() => {
    if (!shown) return;
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const ask = async () => {
      try {
        const data = await latest.current(abort.signal);
        if (!abort.signal.aborted) setState({ key: whole, data });
      } catch (error) {
        if (abort.signal.aborted) return;
        setState((before) => ({ ...(before.key === whole && before), key: whole, error: error as TidingsError }));
        // Asking again changes nothing about these: another token does, or the button.
        if (FINAL.has((error as TidingsError).status)) return;
      }
      if (everyMs > 0 && !abort.signal.aborted) timer = setTimeout(ask, everyMs);
    };
    void ask();
    return () => (abort.abort(), clearTimeout(timer));
  }, [shown, whole, everyMs, round]);
  const reload = useCallback(() => setRound((round) => round + 1), []);
  const current = state.key === whole;
  return { data: current ? state.data : undefined, error: current ? state.error : undefined, reload };
}
