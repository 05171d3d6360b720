// `where`: types that accept only an event's own fields, and the test itself, which means the same as the daemon's.

export type Scalar = string | number | boolean | null;

/** What a field must be: this, or any of these, or a string that starts so. For an array: what it must contain. */
export type Condition<Value extends Scalar = Scalar> =
  | Value
  | readonly Value[]
  | ([Extract<Value, string>] extends [never] ? never : { readonly prefix: string });

/** A filter of which only the form is known. */
export type AnyWhere = { readonly [field: string]: Condition };

/**
 * A filter on events with this `data`: a condition for any of its fields, all of which must hold. Nested fields are
 * dotted: `"address.city"`.
 */
export type Where<Data> = unknown extends Data
  ? AnyWhere
  : { readonly [F in Fields<Data, "", []> as F["path"]]?: Condition<F["value"]> };

/** How deep a filter may look into data; types may be recursive. */
type MaxDepth = 5;

/** Every field of `Data` that has a scalar, or an array of them, as a union. */
type Fields<Data, At extends string, Depth extends readonly unknown[]> = Depth["length"] extends MaxDepth
  ? never
  : Data extends Scalar | undefined | readonly unknown[]
    ? never
    :
        | { [Key in KnownKey<Data>]: FieldAt<Data[Key], `${At}${Key}`, Depth> }[KnownKey<Data>]
        | (unknown extends Values<Data> ? never : FieldAt<Values<Data>, `${At}${string}`, Depth>);

type FieldAt<Value, Path extends string, Depth extends readonly unknown[]> =
  | ([ScalarOf<Value>] extends [never] ? never : { path: Path; value: ScalarOf<Value> })
  | (unknown extends Value ? never : Fields<Value, `${Path}.`, [...Depth, Path]>);

type ScalarOf<Value> = unknown extends Value
  ? Scalar
  : Value extends readonly (infer Element)[]
    ? unknown extends Element ? Scalar : Extract<Element, Scalar>
    : Extract<Value, Scalar>;

/** The keys that are named, without those that an index signature allows. */
type KnownKey<Data> = keyof { [Key in keyof Data as string extends Key ? never : number extends Key ? never : Key]: 0 } &
  keyof Data &
  string;

/** What an index signature says of the rest: `unknown` where it says nothing, `never` where there is none. */
type Values<Data> = string extends keyof Data ? Data[keyof Data & string] : never;

/** Whether an event with this `data` passes. A field that is not there does not. */
export function matches(where: AnyWhere, data: unknown): boolean {
  return Object.entries(where).every(([field, condition]) => {
    const value = lookup(data, field);
    return Array.isArray(value) ? value.some((element) => holds(condition, element)) : holds(condition, value);
  });
}

function holds(condition: Condition, value: unknown): boolean {
  if (Array.isArray(condition)) return condition.includes(value);
  if (isObject(condition)) return typeof value === "string" && value.startsWith(condition["prefix"] as string);
  return value === condition;
}

/** The value of a dotted field. A name that itself contains a dot comes before a nested one. */
function lookup(data: unknown, field: string): unknown {
  if (!isObject(data)) return undefined;
  if (Object.hasOwn(data, field)) return data[field];
  const dot = field.indexOf(".");
  const name = field.slice(0, dot);
  return dot >= 0 && Object.hasOwn(data, name) ? lookup(data[name], field.slice(dot + 1)) : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

