// Publish: one event, written in a form made of its schema, or as JSON. The daemon says what does not fit, and where.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Accepted, TidingsError } from "tidings-client";

import { catalog, reloadCatalog } from "../../data/catalog.js";
import { clock } from "../../data/entries.js";
import { json, whatIsWrong } from "../../data/json.js";
import { isUnknown, newId, SAFE } from "../../data/outcome.js";
import { href, route } from "../../data/route.js";
import { blank } from "../../data/schema.js";
import { bus } from "../../data/session.js";
import { publish } from "../../data/snippets.js";
import { Channel, Choice, Copies, Empty, Head, Loading, Menu, Problem } from "../../ui/parts.js";
import { attempt, begin, type Draft, draft, forget, isSending, save, saved } from "./draft.js";
import { Field, idOf } from "./form.js";

interface Sent {
  readonly at: Date;
  readonly accepted: Accepted;
  readonly draft: Draft;
}

/** What this page has published, newest first. */
let sent: readonly Sent[] = [];
const SENT = 20;

export function Publish() {
  const known = catalog.value;
  if (!known) return <div class="view"><Head title="Publish" /><Loading /></div>;
  const names = [...known.schemas.keys()];
  const wanted = route.value.query.get("type") ?? undefined;
  const type = wanted ?? draft.value?.type ?? names[0];
  if (known.error || type === undefined) {
    return (
      <div class="view">
        <Head title="Publish" />
        {known.error ? <Problem error={known.error} retry={reloadCatalog} /> : <Empty title="No event types">The token may publish to no channel.</Empty>}
      </div>
    );
  }
  return <Editor type={type} names={names.includes(type) ? names : [...names, type]} />;
}

/** A new message: an example of its type. */
function fresh(type: string): Draft {
  const known = catalog.peek();
  const schema = known?.schemas.get(type) ?? {};
  return { type, data: known?.examples.get(type) ?? blank(schema, schema), subject: undefined, source: "" };
}

function Editor({ type, names }: { type: string; names: readonly string[] }) {
  const schema = catalog.value?.schemas.get(type) ?? {};
  const current: Draft = draft.value?.type === type ? { ...draft.value, data: draft.value.data ?? fresh(type).data } : fresh(type);
  useEffect(() => {
    if (draft.peek()?.type !== type) begin(current);
    else if (draft.peek() !== current) draft.value = current;
  }, [type]);
  const set = (change: Partial<Draft>) => (draft.value = { ...current, ...change });

  const [mode, setMode] = useState<"form" | "json">("form");
  const [text, setText] = useState<string>();
  const [broken, setBroken] = useState("");
  const [error, setError] = useState<TidingsError>();
  const isBusy = isSending.value;
  const [done, setDone] = useState<Accepted & { readonly isWithoutChanges: boolean }>();
  const unknown = attempt.value?.error;
  const summary = useRef<HTMLDivElement>(null);
  useEffect(() => {
    setText(undefined);
    setBroken("");
    setError(undefined);
    setDone(undefined);
  }, [type]);

  const attributes = () => ({
    ...(current.subject && { subject: current.subject }),
    ...(current.source && { source: current.source }),
    ...(current.id && { id: current.id }),
    ...(current.extensions && Object.keys(current.extensions).length > 0 && { extensions: current.extensions }),
  });
  const message = () => ({ type, data: current.data, attributes: { ...attributes(), extensions: undefined, ...current.extensions } });
  const send = async () => {
    if (isSending.peek() || broken) return;
    isSending.value = true;
    setError(undefined);
    setDone(undefined);
    const before = attempt.peek();
    const id = current.id || before?.id || newId();
    const text = json.stringify([current.data, attributes()]);
    const note = (next: typeof before) => attempt.peek()?.id === id && (attempt.value = next);
    attempt.value = { ...before, id };
    try {
      const accepted = await bus.peek().publish(type, current.data, { ...attributes(), id });
      note(undefined);
      sent = [{ at: new Date(), accepted, draft: current }, ...sent].slice(0, SENT);
      setDone({ ...accepted, isWithoutChanges: accepted.duplicate && before?.sent !== undefined && before.sent !== text });
    } catch (cause) {
      const error = cause as TidingsError;
      if (isUnknown(error)) note({ sent: text, ...before, id, error });
      else setError(error);
      requestAnimationFrame(() => summary.current?.focus());
    }
    isSending.value = false;
  };
  const load = (next: Draft) => {
    begin(next);
    if (next.type !== type) location.hash = href("publish", { type: next.type });
    setText(undefined);
    setBroken("");
    setError(undefined);
    setDone(undefined);
  };
  const mistakes = error?.errors ?? [];
  return (
    <form
      class="view publish"
      noValidate
      onSubmit={(event) => (event.preventDefault(), void send())}
      onKeyDown={(event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && (event.preventDefault(), void send())}
    >
      <Head title="Publish">
        <Copies label="Copy as…" texts={{ curl: () => publish.curl(message()), "Command line": () => publish.cli(message()), TypeScript: () => publish.typescript(message()), Python: () => publish.python(message()) }} />
        <SavedMessages current={current} onLoad={load} />
      </Head>
      <div class="columns">
        <section class="sheet">
          <div class="bar">
            <label for="type">Type</label>
            <select id="type" value={type} onChange={(event) => (begin(undefined), (location.hash = href("publish", { type: event.currentTarget.value })))}>{names.map((name) => <option key={name}>{name}</option>)}</select>
            <span class="spring" />
            <Choice label="How to write it" value={mode} options={[["form", "Form"], ["json", "JSON"]]} onChange={(next) => !broken && (setMode(next), setText(undefined))} />
            <button type="button" class="quiet" onClick={() => load(fresh(type))}>Example</button>
          </div>
          {typeof schema["description"] === "string" && <p class="hint">{schema["description"]}</p>}
          {(error || unknown) && (
            <div ref={summary} tabindex={-1} class="mistakes">
              {unknown && <Problem title="It is not known whether this was published" error={unknown}><p>{SAFE}</p></Problem>}
              {!error ? null : error.errors.length > 0 ? (
                <div class="problem" role="alert">
                  <p class="problem-title">{error.errors.length === 1 ? "One thing does not fit" : `${error.errors.length} things do not fit`}</p>
                  <ul>
                    {error.errors.map(({ pointer, message }) => (
                      <li key={pointer}>
                        <button type="button" class="link" onClick={() => document.getElementById(idOf(pointer))?.focus()}><code>{pointer || "/"}</code></button> {message}
                      </li>
                    ))}
                  </ul>
                </div>
              ) : (
                <Problem error={error} />
              )}
            </div>
          )}
          {mode === "form" ? (
            <Field key={type} schema={schema} root={schema} name="data" pointer="/data" value={current.data} onChange={(data) => (set({ data }), setDone(undefined))} isRequired mistakes={mistakes} />
          ) : (
            <div class="field">
              <label for="json-data">data</label>
              <textarea
                id="json-data"
                class="mono editor"
                rows={Math.min(28, Math.max(10, json.stringify(current.data, 2).split("\n").length + 1))}
                spellcheck={false}
                value={text ?? json.stringify(current.data, 2)}
                aria-invalid={broken !== ""}
                aria-describedby={broken ? "json-broken" : undefined}
                onInput={(event) => {
                  const typed = event.currentTarget.value;
                  setText(typed);
                  setDone(undefined);
                  try {
                    const data = json.parse(typed);
                    setBroken("");
                    set({ data });
                  } catch (cause) {
                    setBroken(whatIsWrong(typed, cause));
                  }
                }}
              />
              {broken && <span class="mistake" id="json-broken" role="alert">{broken}</span>}
            </div>
          )}
          <Attributes current={current} onChange={set} />
          <div class="bar foot">
            <button type="submit" class="main" disabled={isBusy || broken !== ""}>{isBusy ? "Publishing…" : "Publish"}</button>
            <span class="muted keys"><kbd>Ctrl</kbd> <kbd>Enter</kbd></span>
            <span role="status" class="done">
              {done && (
                <>
                  {done.isWithoutChanges ? "Published before, without your changes since: " : done.duplicate ? "Already there, and not delivered again: " : "Accepted at "}
                  <a href={href("event", { channel: done.type, position: done.position })}>{done.position}</a>
                  {done.isWithoutChanges && ". Publish again makes a new event of them."}
                </>
              )}
            </span>
          </div>
        </section>
        <aside class="sheet sent" aria-label="Published from this page">
          <h2>Published from this page</h2>
          {sent.length === 0 ? <p class="muted">Nothing yet.</p> : (
            <ul>
              {sent.map(({ at, accepted, draft }) => (
                <li key={`${accepted.id} ${at.getTime()}`}>
                  <span class="muted">{clock(at.toISOString()).slice(0, 8)}</span> <Channel name={accepted.type} />{" "}
                  <a href={href("event", { channel: accepted.type, position: accepted.position })}>{accepted.position}</a>
                  {accepted.duplicate && <span class="muted"> again</span>}
                  <button type="button" class="quiet" onClick={() => load({ ...draft })}>Edit</button>
                </li>
              ))}
            </ul>
          )}
        </aside>
      </div>
    </form>
  );
}

function Attributes({ current, onChange }: { current: Draft; onChange: (change: Partial<Draft>) => void }) {
  const others = Object.entries(current.extensions ?? {});
  const [name, setName] = useState("");
  return (
    <details class="attributes" open={Boolean(current.subject || current.source || current.id || others.length > 0)}>
      <summary>Attributes <span class="muted">subject, source, id, extensions</span></summary>
      <div class="fields">
        {(["subject", "source", "id"] as const).map((attribute) => (
          <div class="field" key={attribute}>
            <label for={idOf(`/${attribute}`)}>{attribute}</label>
            <input id={idOf(`/${attribute}`)} value={current[attribute] ?? ""} placeholder={{ subject: "by the type's key", source: "by the token", id: "a new one" }[attribute]} spellcheck={false} autocomplete="off" onInput={(event) => onChange({ [attribute]: event.currentTarget.value })} />
          </div>
        ))}
        {others.map(([extension, value]) => (
          <div class="item" key={extension}>
            <div class="field">
              <label for={idOf(`/${extension}`)}>{extension}</label>
              <input id={idOf(`/${extension}`)} value={value} spellcheck={false} autocomplete="off" onInput={(event) => onChange({ extensions: { ...current.extensions, [extension]: event.currentTarget.value } })} />
            </div>
            <button type="button" class="quiet" aria-label={`Remove ${extension}`} onClick={() => onChange({ extensions: Object.fromEntries(others.filter(([one]) => one !== extension)) })}>×</button>
          </div>
        ))}
        <div class="add-member">
          <input aria-label="Name of an extension attribute" placeholder="traceparent, …" value={name} spellcheck={false} autocomplete="off" onInput={(event) => setName(event.currentTarget.value)} />
          <button type="button" disabled={!/^[a-z0-9]+$/.test(name)} onClick={() => (onChange({ extensions: { ...current.extensions, [name]: "" } }), setName(""))}>Add</button>
        </div>
      </div>
    </details>
  );
}

function SavedMessages({ current, onLoad }: { current: Draft; onLoad: (draft: Draft) => void }) {
  const [name, setName] = useState("");
  const messages = saved.value;
  return (
    <Menu label={`Saved${messages.length > 0 ? `: ${messages.length}` : ""}`}>
      {messages.length === 0 && <p class="muted">Messages that you save stay in this browser.</p>}
      {messages.map((message) => (
        <div class="saved" key={message.name}>
          <span data-choice><button type="button" onClick={() => onLoad(message.draft)}>{message.name} <span class="muted">{message.draft.type}</span></button></span>
          <button type="button" class="quiet" aria-label={`Delete ${message.name}`} onClick={() => forget(message.name)}>×</button>
        </div>
      ))}
      <div class="add-member">
        <input aria-label="Name for this message" placeholder="name for this message" value={name} onInput={(event) => setName(event.currentTarget.value)} onKeyDown={(event) => event.key === "Enter" && !event.ctrlKey && (event.preventDefault(), name.trim() && (save(name.trim(), current), setName("")))} />
        <button type="button" disabled={name.trim() === ""} onClick={() => (save(name.trim(), current), setName(""))}>Save</button>
      </div>
    </Menu>
  );
}
