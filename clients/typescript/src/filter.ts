// Filters (`where`): their types, which accept only the fields of an event, and their evaluation in the client.
//
// The daemon sends an event once for all subscriptions of a connection, so the client finds out which of them it matches.
// The result is the same as that of the daemon.

/** A value that a filter can compare with. */
export type Scalar = string | number | boolean | null;

/**
 * A condition on a field: a value, a list of alternatives, or the prefix of a string. On an array field, it means that the
 * array contains such an element.
 */
export type Condition<Value extends Scalar = Scalar> =
  | Value
  | readonly Value[]
  | ([Extract<Value, string>] extends [never] ? never : { readonly prefix: string });

/** A filter on data whose type is unknown. */
export type AnyWhere = { readonly [field: string]: Condition };

/**
 * A filter on events with this `data`: conditions on its fields, all of which must be met. Dots separate nested fields:
 * `"address.city"`.
 */
export type Where<Data> = unknown extends Data
  ? AnyWhere
  : { readonly [F in Fields<Data, "", []> as F["path"]]?: Condition<F["value"]> };

/** How many levels of nested fields the types offer. Limited, since a type may be recursive. */
type MaxDepth = 5;

/** The union of all fields of `Data` that hold a scalar or an array of scalars. */
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

/** The keys that are declared, without those of an index signature. */
type KnownKey<Data> = keyof { [Key in keyof Data as string extends Key ? never : number extends Key ? never : Key]: 0 } &
  keyof Data &
  string;

/** The value type of the index signature of `Data`, or `never` if it has none. */
type Values<Data> = string extends keyof Data ? Data[keyof Data & string] : never;

/** Whether an event with this `data` meets every condition of the filter. A condition on a missing field is not met. */
export function matches(where: AnyWhere, data: unknown): boolean {
  return Object.entries(where).every(([field, condition]) => {
    const value = lookup(data, field);
    return Array.isArray(value) ? value.some((element) => isMet(condition, element)) : isMet(condition, value);
  });
}

/** Whether one value meets a condition. */
function isMet(condition: Condition, value: unknown): boolean {
  if (Array.isArray(condition)) return condition.some((one) => isMet(one, value));
  if (isObject(condition) && "prefix" in condition) return typeof value === "string" && value.startsWith(condition["prefix"] as string);
  // A number that is an object (option `json`) is its value.
  return value === condition || (value != null && condition != null && value.valueOf() === condition.valueOf());
}

/** The value of a dotted field. A field whose own name contains the dot takes precedence over a nested one. */
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

