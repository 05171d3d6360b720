// Which channels, and which of their events: the pickers of Live and History.

import { useEffect, useId, useRef, useState } from "preact/hooks";
import { TidingsError } from "tidings-client";

import { catalog, reloadCatalog } from "../data/catalog.js";
import { counted } from "../data/entries.js";
import { isObject, json, typedNumber, whatIsWrong } from "../data/json.js";
import { type FilterField, filterFields } from "../data/schema.js";
import type { Filters } from "../data/snippets.js";
import { Channel, Empty, Loading, Menu, Problem } from "./parts.js";

export interface Selection {
  readonly channels: readonly string[];
  readonly filters: Filters;
  /** A filter in the address that cannot be used, and why. Nothing is followed or read until it is gone. */
  readonly broken?: { readonly where: string; readonly why: string } | undefined;
}

const FORM = 'A filter names a channel, and the conditions for it, as in {"order-status":{"newStatus":"shipped"}}.';

/** The selection in the address of a view. */
export function readSelection(query: URLSearchParams): Selection {
  const channels = [...new Set(query.getAll("channel"))];
  const where = query.get("where") ?? "{}";
  const without = (why: string) => ({ channels, filters: {}, broken: { where, why } });
  let filters: unknown;
  try {
    filters = json.parse(where);
  } catch (cause) {
    return without(`${whatIsWrong(where, cause)}. ${FORM}`);
  }
  if (!isObject(filters) || !Object.values(filters).every(isObject)) return without(FORM);
  const other = Object.keys(filters).find((channel) => !channels.includes(channel));
  if (other !== undefined) return without(`It has conditions for “${other}”, which is not among the chosen channels${channels.length > 0 ? `: ${channels.join(", ")}` : ""}.`);
  return { channels, filters: filters as Filters };
}

export function writeSelection({ channels, filters, broken }: Selection): { channel: readonly string[]; where: string | undefined } {
  return { channel: channels, where: broken?.where ?? (Object.keys(filters).length > 0 ? json.stringify(filters) : undefined) };
}

/** The filter of the address that cannot be used. */
export function BrokenFilter({ selection, onChange }: { selection: Selection; onChange: (change: Partial<Selection>) => void }) {
  if (!selection.broken) return null;
  return (
    <Problem title="The filter in the address cannot be used" error={new TidingsError("invalid-filter", selection.broken.why)}>
      <p><code>where={selection.broken.where}</code></p>
      <p class="problem-foot"><button type="button" onClick={() => onChange({ broken: undefined })}>Remove the filter</button></p>
    </Problem>
  );
}

interface PickerProps {
  readonly selection: Selection;
  readonly onChange: (selection: Selection) => void;
}

/** What a view shows while no channel is chosen: the channels. */
export function Begin({ verb, none, onChoose }: { verb: string; none: string; onChoose: (channels: readonly string[]) => void }) {
  const known = catalog.value;
  if (!known) return <Loading />;
  if (known.error) return <Problem error={known.error} retry={reloadCatalog} />;
  const names = known.channels;
  if (names.length === 0) return <Empty title="No channels">The token may {none} no channel. Give another one, or ask whoever issued it.</Empty>;
  return (
    <Empty title={`Choose what to ${verb}`}>
      <div class="begin">
        {names.slice(0, 24).map((name) => <button type="button" key={name} onClick={() => onChoose([name])}><Channel name={name} /></button>)}
      </div>
      {names.length > 1 && <p><button type="button" class="quiet" onClick={() => onChoose(names)}>{verb === "read" ? "Read" : "Follow"} all {counted(names.length)} channels</button></p>}
    </Empty>
  );
}

/** Chooses channels from a menu that can be searched. */
export function ChannelPicker({ selection, onChange }: PickerProps) {
  const [search, setSearch] = useState("");
  const { channels, filters } = selection;
  const known = catalog.value?.channels ?? [];
  const all = [...known, ...channels.filter((channel) => !known.includes(channel))];
  const shown = all.filter((name) => name.toLowerCase().includes(search.toLowerCase()));
  const choose = (next: readonly string[]) => onChange({ channels: all.filter((name) => next.includes(name)), filters: Object.fromEntries(Object.entries(filters).filter(([channel]) => next.includes(channel))) });
  return (
    <Menu label={channels.length === 0 ? "Channels" : `Channels: ${channels.length} of ${all.length}`}>
      {all.length > 8 && <input type="search" placeholder="Find a channel" aria-label="Find a channel" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />}
      <div class="menu-choices" role="group" aria-label="Channels">
        {shown.map((name) => (
          <label key={name}>
            <input type="checkbox" checked={channels.includes(name)} onChange={(event) => choose(event.currentTarget.checked ? [...channels, name] : channels.filter((one) => one !== name))} />
            <Channel name={name} />
          </label>
        ))}
        {shown.length === 0 && <p class="muted">{all.length === 0 ? "The token may subscribe to no channel." : "No channel has this in its name."}</p>}
      </div>
      <p class="buttons">
        <button type="button" onClick={() => choose(all)}>All</button>
        <button type="button" onClick={() => choose([])}>None</button>
      </p>
    </Menu>
  );
}

/** The conditions, and a form that adds one from the fields of the schemas. */
export function FilterBar({ selection, onChange }: PickerProps) {
  const { channels, filters } = selection;
  const [isAdding, setAdding] = useState(false);
  if (channels.length === 0 || selection.broken) return null;
  const conditions = Object.entries(filters).flatMap(([channel, where]) => Object.entries(where).map(([field, condition]) => ({ channel, field, condition })));
  const set = (channel: string, field: string, condition: unknown) => {
    const { [field]: _, ...others } = filters[channel] ?? {};
    const where = condition === undefined ? others : { ...others, [field]: condition };
    const { [channel]: __, ...rest } = filters;
    onChange({ channels, filters: Object.keys(where).length > 0 ? { ...rest, [channel]: where } : rest });
  };
  return (
    <div class="filters">
      {conditions.map(({ channel, field, condition }) => (
        <span class="chip" key={`${channel} ${field}`}>
          <Channel name={channel} />
          <span>
            {field} <b>{described(condition)}</b>
          </span>
          <button type="button" class="quiet" aria-label={`Remove the filter on ${field} of ${channel}`} onClick={() => set(channel, field, undefined)}>×</button>
        </span>
      ))}
      {isAdding ? (
        <AddFilter
          selection={selection}
          onAdd={(channel, field, condition) => {
            const before = filters[channel]?.[field];
            // A second value of a field is an alternative.
            const merges = before !== undefined && !isPrefix(before) && !isPrefix(condition);
            set(channel, field, merges ? [...new Set([...[before].flat(), condition])] : condition);
            setAdding(false);
          }}
          onCancel={() => setAdding(false)}
        />
      ) : (
        <button type="button" class="quiet" onClick={() => setAdding(true)}>+ Filter</button>
      )}
    </div>
  );
}

const isPrefix = (condition: unknown): condition is { prefix: string } => isObject(condition) && "prefix" in condition;

function described(condition: unknown): string {
  if (isPrefix(condition)) return `starts with ${condition.prefix}`;
  const text = (value: unknown) => (typeof value === "string" ? value || '""' : json.stringify(value));
  return Array.isArray(condition) ? `is ${condition.map(text).join(" or ")}` : `is ${text(condition)}`;
}

function AddFilter({ selection, onAdd, onCancel }: { selection: Selection; onAdd: (channel: string, field: string, condition: unknown) => void; onCancel: () => void }) {
  const { channels } = selection;
  const id = useId();
  const [channel, setChannel] = useState(channels[0]!);
  const schema = catalog.value?.schemas.get(channels.includes(channel) ? channel : channels[0]!);
  const fields = schema ? filterFields(schema) : [];
  const [path, setPath] = useState<string>();
  const field: FilterField | undefined = fields.find((one) => one.path === path) ?? fields[0];
  const [operator, setOperator] = useState("is");
  const [text, setText] = useState<string>();
  const [mistake, setMistake] = useState("");
  const first = useRef<HTMLSelectElement>(null);
  useEffect(() => first.current?.focus(), []);
  if (!field) return <span class="muted">The schema of {channel} names no field that a filter could use. <button type="button" class="quiet" onClick={onCancel}>Close</button></span>;
  const options = field.kind === "boolean" ? [true, false] : field.options;
  const hasOptions = options.length > 0 && operator === "is";
  const add = (event: Event) => {
    event.preventDefault();
    if (operator === "prefix") return onAdd(channel, field.path, { prefix: text ?? "" });
    if (hasOptions) return onAdd(channel, field.path, options[Number(text ?? 0)] ?? options[0]);
    const value = field.kind === "number" ? typedNumber(text ?? "") : (text ?? "");
    if (value === undefined) return setMistake("Write a number, such as 42.");
    onAdd(channel, field.path, value);
  };
  return (
    <form class="add-filter" onSubmit={add} onKeyDown={(event) => event.key === "Escape" && onCancel()} aria-label="New filter">
      {channels.length > 1 && (
        <select aria-label="Channel" value={channel} onChange={(event) => (setChannel(event.currentTarget.value), setPath(undefined), setText(undefined))}>
          {channels.map((name) => <option key={name}>{name}</option>)}
        </select>
      )}
      <select aria-label="Field" value={field.path} ref={first} onChange={(event) => (setPath(event.currentTarget.value), setText(undefined), setOperator("is"))}>
        {fields.map(({ path: name }) => <option key={name}>{name}</option>)}
      </select>
      <select aria-label="Condition" value={operator} onChange={(event) => (setOperator(event.currentTarget.value), setText(undefined))}>
        <option value="is">is</option>
        {field.kind === "text" && <option value="prefix">starts with</option>}
      </select>
      {hasOptions ? (
        <select aria-label="Value" value={text ?? "0"} onChange={(event) => setText(event.currentTarget.value)}>
          {options.map((option, index) => <option key={index} value={String(index)}>{typeof option === "string" ? option : json.stringify(option)}</option>)}
        </select>
      ) : (
        <input aria-label="Value" aria-describedby={mistake ? id : undefined} value={text ?? ""} spellcheck={false} autocomplete="off" onInput={(event) => (setText(event.currentTarget.value), setMistake(""))} />
      )}
      <button type="submit" class="main">Add</button>
      <button type="button" onClick={onCancel}>Cancel</button>
      {mistake && <span id={id} class="mistake" role="alert">{mistake}</span>}
    </form>
  );
}
