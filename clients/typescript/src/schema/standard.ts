// The part of Standard Schema (https://standardschema.dev) and of its extension for JSON Schema that the client uses.
//
// zod 4, valibot 1, ArkType and others implement it. It is an interface, so that none of them is a dependency.

/** A schema of any library that implements Standard Schema, version 1. */
export interface StandardSchema<Input = unknown, Output = Input> {
  /** The properties that the standard defines. */
  readonly "~standard": {
    readonly version: 1;
    /** The name of the library. */
    readonly vendor: string;
    /** Validates a value. */
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** A schema that can be converted to JSON Schema, too. */
export interface StandardJsonSchema {
  /** The properties that the standard defines. */
  readonly "~standard": {
    readonly jsonSchema: {
      /** The JSON Schema of what the schema validates. */
      readonly input: (options: { readonly target: string }) => Record<string, unknown>;
    };
  };
}

/** What a validation returns: a value, or what is wrong. */
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

/** One mistake that a validation has found. */
export interface StandardIssue {
  readonly message: string;
  /** Where it is: the keys from the root on. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** The type of what a schema validates: what is on the wire. */
export type InferInput<Schema extends StandardSchema> = NonNullable<Schema["~standard"]["types"]>["input"];

/** The JSON Schema (draft 2020-12) of what a schema validates. `undefined` if the library makes none. */
export function toJsonSchema(schema: StandardSchema): Record<string, unknown> | undefined {
  const { jsonSchema } = schema["~standard"] as object as Partial<StandardJsonSchema["~standard"]>;
  return jsonSchema?.input({ target: "draft-2020-12" });
}
