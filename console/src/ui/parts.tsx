// Small parts that every view has: headings, states without content, problems, tags, menus.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { TidingsError } from "tidings-client";

import { hue } from "../data/catalog.js";
import { token } from "../data/session.js";
import { askForToken } from "./token.js";

/** The name of a channel, with its colour. */
export function Channel({ name }: { name: string }) {
  return (
    <span class={`channel hue-${hue(name)}`} title={name}>
      <i aria-hidden="true" />
      {name}
    </span>
  );
}

/** The head of a view: its name, one sentence, and what acts on all of it. */
export function Head({ title, children, lead }: { title: string; lead?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <header class="head">
      <div>
        <h1>{title}</h1>
        {lead && <p class="lead">{lead}</p>}
      </div>
      {children && <div class="actions">{children}</div>}
    </header>
  );
}

/** What a place without content says: why it is empty, and what to do. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <div class="empty-text">{children}</div>}
    </div>
  );
}

export function Loading() {
  return <p class="loading" role="status">Asking the daemon…</p>;
}

/**
 * What the daemon refused, or why it cannot be reached. `missing` explains a 404: this daemon does not offer the route. `right` is the
 * admin grant that the route needs: the daemon does not say so. `title` says what the error means where that is more than a refusal.
 */
export function Problem({ error, title: given, children, missing, right, retry }: { error: TidingsError; title?: string; children?: ComponentChildren; missing?: ComponentChildren; right?: string; retry?: () => void }) {
  // A connection that was closed has a close code in place of the status.
  const status = error.code === "unauthenticated" ? 401 : error.status;
  if (status === 404 && missing) return <Empty title="This daemon does not offer it">{missing}</Empty>;
  const [title, text] =
    given ? [given, error.message] :
    status === 401 && token.value ? ["The daemon refused the token", "It may have ended or been revoked. The log of the daemon says why."] :
    status === 401 ? ["The daemon wants a token", "Without one it does not answer this."] :
    status === 403 ? ["The token does not allow this", right ? `It needs the admin grant “${right}”. Whoever issued it can give that.` : "Whoever issued it can grant it."] :
    status === undefined ? ["No answer", error.message] :
    status >= 500 ? ["The daemon could not do this", error.message] :
    ["The daemon refused this", error.message];
  return (
    <div class="problem" role="alert">
      <p class="problem-title">{title}</p>
      <p>{text}</p>
      {children}
      {error.errors.length > 1 && (
        <ul>
          {error.errors.map(({ pointer, message }) => (
            <li key={pointer}>
              <code>{pointer}</code> {message}
            </li>
          ))}
        </ul>
      )}
      <p class="problem-foot">
        {status === 401 && <button type="button" onClick={askForToken}>{token.value ? "Give another token…" : "Give a token…"}</button>}
        {retry && <button type="button" onClick={retry}>Try again</button>}
        <span class="muted">
          {error.code}
          {error.requestId && <> · request {error.requestId}</>}
        </span>
      </p>
    </div>
  );
}

/** A menu that a button opens. It closes by Escape, by a choice, and when the focus leaves it. */
export function Menu({ label, children, title }: { label: ComponentChildren; title?: string; children: ComponentChildren }) {
  const details = useRef<HTMLDetailsElement>(null);
  const close = () => details.current?.removeAttribute("open");
  return (
    <details
      class="menu"
      ref={details}
      onToggle={() => place(details.current!.lastElementChild as HTMLElement)}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !details.current?.open) return;
        event.stopPropagation();
        close();
        details.current.querySelector("summary")?.focus();
      }}
      onFocusOut={(event) => {
        if (event.relatedTarget && !details.current?.contains(event.relatedTarget as Node)) close();
      }}
    >
      <summary class="button" title={title}>{label}</summary>
      <div class="menu-list" onClick={(event) => (event.target as Element).closest("[data-choice]") && close()}>{children}</div>
    </details>
  );
}

/** Moves the list of a menu into the window. */
function place(list: HTMLElement): void {
  list.style.transform = "";
  const { left, right } = list.getBoundingClientRect();
  const shift = left < 8 ? 8 - left : Math.min(0, document.documentElement.clientWidth - 8 - right);
  if (shift !== 0) list.style.transform = `translateX(${shift}px)`;
}

/** Closes open menus when something else is clicked. */
document.addEventListener("pointerdown", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target as Node)) menu.removeAttribute("open");
  }
});

/** Copies a text, and says so for a moment. */
function Copy({ name, text }: { name?: string; text: () => string }) {
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(""), 1_500);
    return () => clearTimeout(timer);
  }, [said]);
  const copy = () => copyText(text()).then(() => setSaid("Copied"), () => setSaid("The browser did not allow it"));
  return (
    <button type="button" class={name ? "" : "quiet"} onClick={copy}>
      <span aria-live="polite">{said || name || "Copy"}</span>
    </button>
  );
}

/** A menu of texts, each with its name, to copy. */
export function Copies({ label, texts }: { label: string; texts: Record<string, () => string> }) {
  return (
    <Menu label={label}>
      {Object.entries(texts).map(([name, text]) => <span data-choice key={name}><Copy name={name} text={text} /></span>)}
    </Menu>
  );
}

async function copyText(text: string): Promise<void> {
  // Pages over plain HTTP, but from this machine, have no clipboard.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("not copied");
}

/** A piece of code, with a button that copies it. */
export function Code({ text, label }: { text: string; label: string }) {
  return (
    <figure class="code">
      <figcaption>
        <span>{label}</span>
        <Copy text={() => text} />
      </figcaption>
      <pre tabindex={0} aria-label={label}>{text}</pre>
    </figure>
  );
}

/** One of several choices, side by side. */
export function Choice<Value extends string>({ label, value, options, onChange }: { label: string; value: Value; options: readonly (readonly [Value, string])[]; onChange: (value: Value) => void }) {
  return (
    <div class="choice" role="group" aria-label={label}>
      {options.map(([option, text]) => (
        <button type="button" key={option} aria-pressed={option === value} onClick={() => onChange(option)}>{text}</button>
      ))}
    </div>
  );
}

/** Hands a text to the browser as a file. */
export function download(name: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
