// `tidings-client/schema`: own event types from the schemas of a program, with any library that implements Standard Schema.

export { schemaFiles, writeSchemas } from "./files.js";
export type { InferInput, StandardIssue, StandardJsonSchema, StandardResult, StandardSchema } from "./standard.js";
export { type DefinedTypes, defineTypes, type EventsOf, type OwnEvents, type OwnType, type OwnTypes } from "./types.js";
