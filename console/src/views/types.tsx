// Types: what each event type means, an example of it, and code that uses it.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

import { catalog, reloadCatalog } from "../data/catalog.js";
import { counted, type Page } from "../data/entries.js";
import { isObject, json } from "../data/json.js";
import { usePoll } from "../data/poll.js";
import { go, href, route } from "../data/route.js";
import { blank, resolve, type Schema, types } from "../data/schema.js";
import { get } from "../data/session.js";
import { follow, publish } from "../data/snippets.js";
import { typescript } from "../data/typescript.js";
import { Channel, Choice, Code, Empty, Head, Loading, Problem } from "../ui/parts.js";

export function Types() {
  const [search, setSearch] = useState("");
  const known = catalog.value;
  const frame = (content: ComponentChildren) => <div class="view"><Head title="Types" />{content}</div>;
  if (!known) return frame(<Loading />);
  if (known.error) return frame(<Problem error={known.error} retry={reloadCatalog} />);
  const names = [...known.schemas.keys()];
  if (names.length === 0) return frame(<Empty title="No event types">The token may see no type. Give another one, or ask whoever issued it.</Empty>);
  const asked = route.value.query.get("type");
  const name = asked ?? names[0]!;
  const schema = known.schemas.get(name);
  const shown = names.filter((one) => one.toLowerCase().includes(search.toLowerCase()));
  return (
    <div class="view types">
      <Head title="Types">
        <label class="plain narrow-only"><span class="sr">Type</span><select value={name} onChange={(event) => go("types", { type: event.currentTarget.value })}>{names.map((one) => <option key={one}>{one}</option>)}</select></label>
      </Head>
      <div class="columns reversed">
        <nav class="type-list" aria-label="Event types">
          {names.length > 8 && <input type="search" placeholder="Find a type" aria-label="Find a type" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />}
          {shown.map((one) => <a key={one} href={href("types", { type: one })} aria-current={one === name ? "true" : undefined}><Channel name={one} /></a>)}
        </nav>
        {schema ? <Type key={name} name={name} schema={schema} /> : <Empty title="No such type">This daemon has no type <code>{name}</code>, or the token may not see it.</Empty>}
      </div>
    </div>
  );
}

function Type({ name, schema }: { name: string; schema: Schema }) {
  const [language, setLanguage] = useState<"typescript" | "curl" | "cli" | "python">("typescript");
  const example = catalog.value?.examples.get(name);
  const followed = { channels: [name], filters: {}, since: "now" };
  const message = { type: name, data: example ?? blank(schema, schema), attributes: {} };
  const fields = Object.entries((schema["properties"] ?? {}) as Record<string, unknown>);
  const required = new Set<string>(schema["required"] ?? []);
  return (
    <article class="type">
      <div class="sheet">
        <div class="type-head">
          <h2><Channel name={name} /></h2>
          <span class="links"><a href={href("live", { channel: name })}>Live</a> <a href={href("publish", { type: name })}>Publish</a> <a href={href("history", { channel: name })}>History</a></span>
        </div>
        {typeof schema["description"] === "string" && <p>{schema["description"]}</p>}
        {typeof schema["x-tidings-key"] === "string" && <p class="muted">Its key is <code>{schema["x-tidings-key"]}</code>: the <code>subject</code> of an event that names none.</p>}
        {fields.length > 0 && (
          <div class="scrolls" tabindex={0} role="group" aria-label={`Fields of ${name}`}>
            <table>
              <thead><tr><th scope="col">field</th><th scope="col">type</th><th scope="col">meaning</th></tr></thead>
              <tbody>
                {fields.map(([field, given]) => {
                  const property = resolve(given, schema);
                  return (
                    <tr key={field}>
                      <th scope="row" class="mono">{field}{!required.has(field) && <span class="muted" title="may be absent">?</span>}</th>
                      <td class="mono">{kindOf(property, schema)}</td>
                      <td class="breaks">{property["description"] ?? ""} <span class="muted">{bounds(property, schema)}</span></td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
        )}
        <Sources key={name} name={name} />
      </div>
      {example === undefined ? <p class="muted">No example was found that fits this schema.</p> : <Code label="Example" text={json.stringify(example, 2)} />}
      <Code label="TypeScript type" text={`type Data = ${typescript(schema)};`} />
      <div class="bar"><h3>Use it</h3><Choice label="Language" value={language} options={[["typescript", "TypeScript"], ["curl", "curl"], ["cli", "Command line"], ["python", "Python"]]} onChange={setLanguage} /></div>
      <Code label="Follow it" text={follow[language](followed)} />
      <Code label="Publish one" text={publish[language](message)} />
      <details class="schema"><summary>JSON Schema</summary><Code label="JSON Schema" text={json.stringify(schema, 2)} /></details>
    </article>
  );
}

function kindOf(schema: Schema, root: Schema): string {
  if (schema["const"] !== undefined) return json.stringify(schema["const"]);
  const options = (schema["oneOf"] ?? schema["anyOf"]) as unknown[] | undefined;
  if (Array.isArray(options) && !isObject(schema["properties"])) return [...new Set(options.map((option) => kindOf(resolve(option, root), root)))].join(" | ");
  const kinds = types(schema);
  if (kinds.includes("array") && schema["items"] !== undefined && schema["items"] !== false) return `${kindOf(resolve(schema["items"], root), root)}[]`;
  return kinds.join(" | ") || "any";
}

function bounds(schema: Schema, root: Schema): string {
  const known = schema["enum"] ?? (schema["items"] ? resolve(schema["items"], root)["enum"] : undefined);
  const items = Array.isArray(known) ? known : undefined;
  const parts = [
    ...(items ? [items.map((value) => (typeof value === "string" ? value : json.stringify(value))).join(", ")] : []),
    ...(schema["format"] ? [schema["format"]] : []),
    ...(schema["pattern"] ? [`matches ${schema["pattern"]}`] : []),
    ...(schema["maxLength"] !== undefined ? [`${Number(schema["minLength"] ?? 0) > 0 ? `${schema["minLength"]} to ${schema["maxLength"]}` : `up to ${schema["maxLength"]}`} characters`] : []),
    ...(schema["minimum"] !== undefined || schema["maximum"] !== undefined ? [`${schema["minimum"] ?? "…"} to ${schema["maximum"] ?? "…"}`] : []),
  ];
  return parts.join(" · ");
}

/** Who publishes the type, as far as the log tells. */
function Sources({ name }: { name: string }) {
  const { data, error } = usePoll(async (abort) => {
    const { events } = await get<Page>("v1/events", { channel: name, limit: 1_000 }, { abort });
    const seen = new Map<string, number>();
    for (const { event } of events) seen.set(event.source, (seen.get(event.source) ?? 0) + 1);
    return { seen: [...seen].sort(([, a], [, b]) => b - a), read: events.length };
  }, 0, name);
  if (error || !data) return null;
  if (data.read === 0) return <p class="muted">The log has no event of it, so nobody is known to publish it.</p>;
  return (
    <p class="sources">
      <span class="muted">Published by</span> {data.seen.slice(0, 12).map(([source, count]) => <span class="chip" key={source}>{source} <span class="muted">{counted(count)}</span></span>)}
      {data.seen.length > 12 && <span class="muted">and {data.seen.length - 12} more</span>} <span class="muted">in {data.read === 1_000 ? "the oldest 1,000 retained" : data.read === 1 ? "the one event retained" : `the ${counted(data.read)} retained`}</span>
    </p>
  );
}
