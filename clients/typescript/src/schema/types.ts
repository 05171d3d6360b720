// Own event types from schemas: the types at compile time, and the validation of events.

import { type Mistake, TidingsError } from "../errors.js";
import type { CloudEvent, EventMap } from "../generated/events.js";
import type { Subscriber } from "../subscription.js";
import type { EventTypes } from "../types.js";
import type { InferInput, StandardIssue, StandardResult, StandardSchema } from "./standard.js";

/** An own event type: the schema of its data, and what tidings has to know beside it. */
export interface OwnType<Schema extends StandardSchema = StandardSchema> {
  /** The schema of the event's data. */
  readonly schema: Schema;
  /** The field of the data that becomes the event's `subject`. Default: the `x-tidings-key` of the JSON Schema, else none. */
  readonly key?: string | undefined;
  /** The JSON Schema (draft 2020-12), for a library that does not make one. Default: that of the library. */
  readonly jsonSchema?: Readonly<Record<string, unknown>> | undefined;
}

/** Own event types by name, each a schema alone or with its key. */
export type OwnTypes = Readonly<Record<string, StandardSchema | OwnType>>;

type SchemaOf<Type> = Type extends StandardSchema ? Type : Type extends OwnType<infer Schema> ? Schema : never;

/** The data of each own type, as it is on the wire. */
export type OwnEvents<Types extends OwnTypes> = { [Name in keyof Types]: InferInput<SchemaOf<Types[Name]>> };

/** The data of each event type of what `defineTypes` returns, for `Bus<EventsOf<typeof types>>`. */
export type EventsOf<Types extends { readonly "~events"?: object | undefined }> = NonNullable<Types["~events"]>;

/** What a declaration must be: of another name than the built-in types, and with a key that is a field. */
type Checked<Types> = {
  [Name in keyof Types]: Name extends keyof EventMap
    ? never
    : Types[Name] extends OwnType<infer Schema>
      ? { readonly key?: (keyof InferInput<Schema> & string) | undefined }
      : unknown;
};

/** Own event types that `defineTypes` has made. Pass them to `connect`, and to `writeSchemas`. */
export interface DefinedTypes<Types extends OwnTypes> extends EventTypes<EventMap & OwnEvents<Types>> {
  /** As they were defined. */
  readonly own: { readonly [Name in keyof Types]: OwnType<SchemaOf<Types[Name]>> };
}

/**
 * Defines own event types by schemas of any library that implements Standard Schema: zod 4, valibot 1, ArkType.
 *
 * ```ts
 * export const types = defineTypes({ "price-change": { schema: z.object({ sku: z.string(), cents: z.int() }), key: "sku" } });
 * const bus = connect(url, { types });
 * ```
 *
 * The type of the data is that of the schema's input: what is published, and what handlers get. No transform is applied.
 *
 * @throws {TypeError} if no event type can have such a name.
 */
export function defineTypes<const Types extends OwnTypes>(types: Types & Checked<Types>): DefinedTypes<Types> {
  const own = new Map(Object.entries(types as OwnTypes).map(([name, type]) => [name, toOwnType(name, type)]));
  return {
    own: Object.fromEntries(own) as unknown as DefinedTypes<Types>["own"],
    publishing: (events, isBatch) => checkPublished(own, events, isBatch),
    receiving: (subscriber, onError) => checkedSubscriber(own, subscriber, onError),
  };
}

function toOwnType(name: string, type: StandardSchema | OwnType): OwnType {
  // The rules of the daemon for the name of a file in its folder of schemas.
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
    throw new TypeError(`${JSON.stringify(name)} cannot be the name of an event type: it has up to 64 letters, digits, ".", "_" and "-"`);
  }
  return "~standard" in type ? { schema: type } : type;
}

/** @throws {TidingsError} with the code `invalid-event`, as the daemon would answer. */
async function checkPublished(
  own: ReadonlyMap<string, OwnType>,
  events: readonly { readonly type: string; readonly data: unknown }[],
  isBatch: boolean,
): Promise<void> {
  const mistakes = await Promise.all(
    events.map(async ({ type, data }, index) => toMistakes(await validate(own.get(type), data), `${isBatch ? `/${index}` : ""}/data`)),
  );
  const errors = mistakes.flat();
  if (errors.length > 0) throw invalid("the data of the event does not match its schema", errors);
}

/** The subscriber, but without events that do not match the schema of their type. Those are reported. */
function checkedSubscriber<Receiver extends Subscriber>(
  own: ReadonlyMap<string, OwnType>,
  subscriber: Receiver,
  onError: (error: TidingsError) => void,
): Receiver {
  const isValid = ({ type, data, id }: CloudEvent): boolean => {
    const result = validate(own.get(type), data);
    // Events stay in their order, so there is no time to wait for it.
    const errors = result instanceof Promise ? [{ pointer: "/data", message: "its schema is asynchronous" }] : toMistakes(result, "/data");
    if (errors.length > 0) onError(invalid(`no handler gets the event ${id} of the type ${type}, which does not match its schema`, errors));
    return errors.length === 0;
  };
  const { restore } = subscriber;
  return {
    ...subscriber,
    deliver: (event: CloudEvent) => isValid(event) && subscriber.deliver(event),
    ...(restore && { restore: (events: readonly CloudEvent[]) => restore(events.filter(isValid)) }),
  };
}

/** A type without a schema here, such as a built-in one, is validated by the daemon only. */
function validate(type: OwnType | undefined, data: unknown): StandardResult<unknown> | Promise<StandardResult<unknown>> {
  return type === undefined ? { value: data } : type.schema["~standard"].validate(data);
}

function toMistakes({ issues = [] }: { readonly issues?: readonly StandardIssue[] | undefined }, root: string): Mistake[] {
  return issues.map(({ message, path = [] }) => {
    const keys = path.map((step) => String(typeof step === "object" ? step.key : step));
    // RFC 6901, section 3.
    return { message, pointer: [root, ...keys.map((key) => key.replaceAll("~", "~0").replaceAll("/", "~1"))].join("/") };
  });
}

function invalid(what: string, errors: readonly Mistake[]): TidingsError {
  const [first] = errors;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  return new TidingsError("invalid-event", `${what}: ${first?.pointer}: ${first?.message}${more}`, { errors });
}
