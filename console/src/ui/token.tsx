// The dialog in which a person gives the token, and the button that opens it.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { ago } from "../data/entries.js";
import { about, refused, token, unreadable } from "../data/session.js";

const isOpen = signal(false);

export function askForToken(): void {
  isOpen.value = true;
}

/** Whose token is in use. Opens the dialog. */
export function TokenButton() {
  const text = token.value;
  const { name, ends } = text ? about(text) : { name: "No token" };
  const late = ends !== undefined && ends.getTime() < Date.now();
  return (
    <button type="button" class={`token ${refused.value || unreadable.value || late ? "warns" : ""}`} onClick={askForToken} title="The token for this daemon">
      <span class="token-name">{name}</span>
      {unreadable.value ? <span>the link's cannot be read</span> : refused.value ? <span>{text ? "refused" : "the daemon wants one"}</span> : ends ? <span>{late ? "ended" : "ends"} {ago(ends)}</span> : null}
    </button>
  );
}

export function TokenDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const field = useRef<HTMLTextAreaElement>(null);
  const open = isOpen.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
    if (open) field.current?.focus();
  }, [open]);
  const take = (event: Event) => {
    event.preventDefault();
    token.value = field.current!.value.trim().replace(/^Bearer\s+/i, "");
    isOpen.value = false;
  };
  return (
    <dialog ref={dialog} onClose={() => (isOpen.value = false)} aria-labelledby="token-title">
      {open && (
        <form onSubmit={take}>
          <h2 id="token-title">Token</h2>
          {refused.value && token.value && <p class="mistake">The daemon refused this token. Its log says why: it may have ended or been revoked.</p>}
          {unreadable.value && <p class="mistake">The link brought a token that cannot be read: it was cut or changed on its way. Paste the token itself.</p>}
          <label for="token-text">A token or an API key for this daemon</label>
          <textarea id="token-text" ref={field} class="mono" rows={5} autocomplete="off" spellcheck={false} defaultValue={token.value} onKeyDown={(event) => event.key === "Enter" && !event.shiftKey && take(event)} />
          <p class="muted">
            It stays in this tab until the tab is closed. <code>tidings token issue</code> makes one. A link can bring it as <code>#token=…</code>, once.
          </p>
          <p class="buttons">
            <button type="submit" class="main">Use it</button>
            {token.value && <button type="button" onClick={() => ((token.value = ""), (isOpen.value = false))}>Forget it</button>}
            <button type="button" onClick={() => (isOpen.value = false)}>Cancel</button>
          </p>
        </form>
      )}
    </dialog>
  );
}
