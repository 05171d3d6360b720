// A form for the values of a JSON Schema: objects, arrays, scalars, alternatives. What it does not know is typed as JSON.
//
// It changes the value that it is given, and keeps nothing but what a person types before it is a value. The daemon validates.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Mistake } from "tidings-client";

import { isNumber, isObject, json, same, typedNumber } from "../../data/json.js";
import { alternatives, blank, labelOf, resolve, type Schema, types } from "../../data/schema.js";

export interface FieldProps {
  readonly schema: unknown;
  readonly root: Schema;
  readonly name: string;
  /** A JSON Pointer. */
  readonly pointer: string;
  readonly value: unknown;
  /** `undefined`: the value is absent. */
  readonly onChange: (value: unknown) => void;
  readonly isRequired: boolean;
  readonly mistakes: readonly Mistake[];
}

/** The id of the input for a place in the event. */
export const idOf = (pointer: string): string => `field${pointer}`;
const below = (pointer: string, name: string | number) => `${pointer}/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`;

export function Field(props: FieldProps) {
  const { root, pointer, value, onChange, isRequired } = props;
  const schema = resolve(props.schema, root);
  const options = alternatives(schema, root);
  if (options.length > 0) return <Alternatives {...props} schema={schema} options={options} />;
  const kinds = types(schema);
  if (value === null && kinds.includes("null")) return <Labelled {...props} schema={schema}><span class="word">null</span></Labelled>;
  const [kind] = kinds.filter((type) => type !== "null");
  if (kind === "object" && (value === undefined || isObject(value))) return <Members {...props} schema={schema} />;
  if (kind === "array" && (value === undefined || Array.isArray(value))) return <Items {...props} schema={schema} />;
  const known = (schema["enum"] ?? (schema["const"] !== undefined ? [schema["const"]] : kind === "boolean" ? [true, false] : undefined)) as unknown[] | undefined;
  if (known && (value === undefined || known.some((option) => same(option, value)))) {
    const index = known.findIndex((option) => same(option, value));
    return (
      <Labelled {...props} schema={schema}>
        <select {...attributes(props)} value={String(index)} onChange={(event) => onChange(known[Number(event.currentTarget.value)])}>
          {(!isRequired || index < 0) && <option value="-1">{isRequired ? "choose…" : "absent"}</option>}
          {known.map((option, at) => <option key={at} value={String(at)}>{typeof option === "string" ? option : json.stringify(option)}</option>)}
        </select>
      </Labelled>
    );
  }
  if (kind === "string" && (value === undefined || typeof value === "string")) {
    const set = (text: string) => onChange(text === "" && !isRequired ? undefined : text);
    const isLong = Number(schema["maxLength"] ?? 0) > 300 || (typeof value === "string" && (value.length > 80 || value.includes("\n")));
    return (
      <Labelled {...props} schema={schema}>
        {isLong ? (
          <textarea {...attributes(props)} rows={2} value={value ?? ""} placeholder={isRequired ? "" : "absent"} onInput={(event) => set(event.currentTarget.value)} />
        ) : (
          <input {...attributes(props)} value={value ?? ""} placeholder={isRequired ? "" : "absent"} spellcheck={false} autocomplete="off" onInput={(event) => set(event.currentTarget.value)} />
        )}
      </Labelled>
    );
  }
  if ((kind === "integer" || kind === "number") && (value === undefined || isNumber(value) || typeof value === "string")) {
    // What is no number yet goes to the daemon as text: it says what is wrong.
    const set = (text: string) => onChange(text.trim() === "" ? undefined : (typedNumber(text) ?? text));
    return (
      <Labelled {...props} schema={schema}>
        <NumberInput {...props} onText={set} />
      </Labelled>
    );
  }
  void pointer;
  return <Labelled {...props} schema={schema}><JsonInput {...props} /></Labelled>;
}

function attributes({ pointer, mistakes, isRequired }: FieldProps) {
  const isWrong = mistakes.some((mistake) => mistake.pointer === pointer);
  return { id: idOf(pointer), "aria-invalid": isWrong, "aria-required": isRequired, "aria-describedby": isWrong ? `${idOf(pointer)}-mistake` : undefined };
}

/** The digits stay as they are typed: `1.10` and 2^53 + 1. */
function NumberInput(props: FieldProps & { onText: (text: string) => void }) {
  const { value, isRequired, onText } = props;
  const written = value === undefined ? "" : typeof value === "string" ? value : json.stringify(value);
  const [text, setText] = useState(written);
  const shown = typedNumber(text) !== undefined && same(typedNumber(text), value) ? text : written;
  return <input {...attributes(props)} inputMode="decimal" class="mono" value={shown} placeholder={isRequired ? "" : "absent"} autocomplete="off" onInput={(event) => (setText(event.currentTarget.value), onText(event.currentTarget.value))} />;
}

function JsonInput(props: FieldProps) {
  const { value, onChange, isRequired } = props;
  const [text, setText] = useState<string>();
  const [isBroken, setBroken] = useState(false);
  return (
    <>
      <textarea
        {...attributes(props)}
        class="mono"
        rows={3}
        spellcheck={false}
        placeholder={isRequired ? "JSON" : "absent, or JSON"}
        value={text ?? (value === undefined ? "" : json.stringify(value, 2))}
        onInput={(event) => {
          const typed = event.currentTarget.value;
          setText(typed);
          try {
            onChange(typed.trim() === "" ? undefined : json.parse(typed));
            setBroken(false);
          } catch {
            setBroken(true);
          }
        }}
        onBlur={() => !isBroken && setText(undefined)}
      />
      {isBroken && <span class="mistake">This is no JSON yet.</span>}
    </>
  );
}

function Labelled({ name, schema, pointer, isRequired, mistakes, children, onChange, value, root }: FieldProps & { schema: Schema; children: ComponentChildren }) {
  const isNullable = types(schema).includes("null") && types(schema).length > 1;
  return (
    <div class="field">
      <div class="field-head">
        <label for={idOf(pointer)}>{name}{isRequired && <span class="needed" title="required" aria-hidden="true"> *</span>}</label>
        {isNullable && <button type="button" class="quiet" onClick={() => onChange(value === null ? blank({ ...schema, type: types(schema).filter((type) => type !== "null") }, root) : null)}>{value === null ? "Give a value" : "Set to null"}</button>}
      </div>
      {children}
      <Below pointer={pointer} schema={schema} mistakes={mistakes} />
    </div>
  );
}

function Below({ pointer, schema, mistakes }: { pointer: string; schema: Schema; mistakes: readonly Mistake[] }) {
  const here = mistakes.filter((mistake) => mistake.pointer === pointer);
  return (
    <>
      {here.length > 0 && <span class="mistake" id={`${idOf(pointer)}-mistake`}>{here.map(({ message }) => message).join("; ")}</span>}
      {typeof schema["description"] === "string" && <span class="hint">{schema["description"]}</span>}
    </>
  );
}

/** The frame of a value with parts. */
function Group({ name, schema, pointer, isRequired, mistakes, children, head }: FieldProps & { schema: Schema; children: ComponentChildren; head?: ComponentChildren }) {
  return (
    <fieldset class="group" id={idOf(pointer)} tabindex={-1}>
      <legend>{name}{isRequired && <span class="needed" title="required" aria-hidden="true"> *</span>}</legend>
      {head && <div class="group-head">{head}</div>}
      <Below pointer={pointer} schema={schema} mistakes={mistakes} />
      {children}
    </fieldset>
  );
}

function Members(props: FieldProps & { schema: Schema }) {
  const { schema, root, name, pointer, value, onChange, isRequired, mistakes } = props;
  const members = (value ?? {}) as Record<string, unknown>;
  const properties = (schema["properties"] ?? {}) as Record<string, unknown>;
  const required = new Set<string>(schema["required"] ?? []);
  const set = (member: string, next: unknown) => {
    const { [member]: _, ...others } = members;
    if (next === undefined) return onChange(others);
    // In the order of the schema, then as added.
    const all: Record<string, unknown> = { ...members, [member]: next };
    const order = [...Object.keys(properties).filter((key) => Object.hasOwn(all, key)), ...Object.keys(all).filter((key) => !Object.hasOwn(properties, key))];
    onChange(Object.fromEntries(order.map((key) => [key, all[key]])));
  };
  const isOpen = pointer === "/data";
  if (value === undefined && !isOpen) return <Absent {...props} what="Add" />;
  const others = Object.keys(members).filter((member) => !Object.hasOwn(properties, member));
  const mayHaveOthers = schema["additionalProperties"] !== false && (isObject(schema["additionalProperties"]) || Object.keys(properties).length === 0);
  const fields = (
    <>
      {Object.entries(properties).map(([member, property]) => (
        <Field key={member} schema={property} root={root} name={member} pointer={below(pointer, member)} value={members[member]} onChange={(next) => set(member, next)} isRequired={required.has(member)} mistakes={mistakes} />
      ))}
      {others.map((member) => (
        <div class="item" key={member}>
          <Field schema={isObject(schema["additionalProperties"]) ? schema["additionalProperties"] : {}} root={root} name={member} pointer={below(pointer, member)} value={members[member]} onChange={(next) => set(member, next ?? "")} isRequired mistakes={mistakes} />
          <button type="button" class="quiet" aria-label={`Remove ${member}`} onClick={() => set(member, undefined)}>×</button>
        </div>
      ))}
      {mayHaveOthers && <AddMember taken={Object.keys(members)} onAdd={(member) => set(member, blank(schema["additionalProperties"], root, 2))} />}
    </>
  );
  if (isOpen) return <div class="fields">{fields}</div>;
  return <Group {...props} head={!isRequired && <button type="button" class="quiet" onClick={() => onChange(undefined)}>Remove {name}</button>}>{fields}</Group>;
}

function AddMember({ taken, onAdd }: { taken: readonly string[]; onAdd: (name: string) => void }) {
  const [name, setName] = useState("");
  const isFree = name !== "" && !taken.includes(name);
  const add = () => isFree && (onAdd(name), setName(""));
  return (
    <div class="add-member">
      <input aria-label="Name of a new member" placeholder="name of a new member" value={name} spellcheck={false} autocomplete="off" onInput={(event) => setName(event.currentTarget.value)} onKeyDown={(event) => event.key === "Enter" && !event.ctrlKey && (event.preventDefault(), add())} />
      <button type="button" disabled={!isFree} onClick={add}>Add</button>
    </div>
  );
}

function Absent({ schema, root, name, pointer, onChange, isRequired, mistakes, what }: FieldProps & { schema: Schema; what: string }) {
  return (
    <div class="field absent">
      <div class="field-head">
        <span>{name}{isRequired && <span class="needed" aria-hidden="true"> *</span>}</span>
        <button type="button" class="quiet" id={idOf(pointer)} aria-label={`${what} ${name}`} onClick={() => onChange(blank(schema, root))}>+ {what}</button>
      </div>
      <Below pointer={pointer} schema={schema} mistakes={mistakes} />
    </div>
  );
}

function Items(props: FieldProps & { schema: Schema }) {
  const { schema, root, name, pointer, value, onChange, isRequired, mistakes } = props;
  if (value === undefined) return <Absent {...props} what="Add" />;
  const items = value as unknown[];
  const fixed = (schema["prefixItems"] ?? []) as unknown[];
  const schemaOf = (index: number) => fixed[index] ?? schema["items"] ?? {};
  const mayGrow = (schema["items"] !== false || items.length < fixed.length) && items.length < Number(schema["maxItems"] ?? Infinity);
  const add = () => onChange([...items, blank(schemaOf(items.length), root)]);
  return (
    <Group {...props} head={!isRequired && <button type="button" class="quiet" onClick={() => onChange(undefined)}>Remove {name}</button>}>
      {items.map((item, index) => (
        <div class="item" key={index}>
          <Field schema={schemaOf(index)} root={root} name={`${name} ${index + 1}`} pointer={below(pointer, index)} value={item} onChange={(next) => onChange(items.map((old, at) => (at === index ? (next ?? "") : old)))} isRequired mistakes={mistakes} />
          <button type="button" class="quiet" aria-label={`Remove ${name} ${index + 1}`} onClick={() => onChange(items.filter((_, at) => at !== index))}>×</button>
        </div>
      ))}
      {mayGrow && <button type="button" onClick={add}>Add one</button>}
    </Group>
  );
}

/** A value of one of several kinds. */
function Alternatives(props: FieldProps & { schema: Schema; options: readonly Schema[] }) {
  const { root, name, pointer, value, onChange, isRequired, mistakes, options } = props;
  const [chosen, setChosen] = useState<number>();
  const fits = options.findIndex((option) => mayBe(option, value, root));
  const index = value === undefined ? -1 : chosen !== undefined && options[chosen] && mayBe(options[chosen], value, root) ? chosen : fits;
  const option = options[index];
  const labels = options.map((option) => labelOf(option, root));
  const choose = (at: number) => {
    setChosen(at);
    onChange(at < 0 ? undefined : blank(options[at], root));
  };
  return (
    <div class="alternatives">
      <div class="field">
        <label for={`${idOf(pointer)}-kind`}>{name}{isRequired && <span class="needed" title="required" aria-hidden="true"> *</span>}</label>
        <select id={`${idOf(pointer)}-kind`} value={String(index)} onChange={(event) => choose(Number(event.currentTarget.value))}>
          {(index < 0 || !isRequired) && <option value="-1">{isRequired ? "choose…" : "absent"}</option>}
          {labels.map((label, at) => <option key={at} value={String(at)}>{label}</option>)}
        </select>
        {option === undefined && <Below pointer={pointer} schema={props.schema} mistakes={mistakes} />}
      </div>
      {option && <Field {...props} key={index} schema={{ ...option, oneOf: undefined, anyOf: undefined }} isRequired />}
    </div>
  );
}

/** Whether a value looks like one of this schema: enough to choose its form. */
function mayBe(schema: Schema, value: unknown, root: Schema): boolean {
  const kinds = types(schema);
  const kind = value === null ? "null" : Array.isArray(value) ? "array" : isNumber(value) ? "number" : typeof value;
  if (kinds.length > 0 && !kinds.includes(kind) && !(kind === "number" && kinds.includes("integer"))) return false;
  if (schema["const"] !== undefined) return same(schema["const"], value);
  if (Array.isArray(schema["enum"])) return schema["enum"].some((option) => same(option, value));
  if (!isObject(value)) return true;
  return Object.entries((schema["properties"] ?? {}) as Record<string, unknown>).every(([name, property]) => {
    const fixed = resolve(property, root)["const"];
    return fixed === undefined || !Object.hasOwn(value, name) || same(fixed, value[name]);
  });
}
