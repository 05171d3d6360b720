// What quicktype generates of a schema, and of all schemas of a document.

import { InputData, JSONSchemaInput, JSONSchemaStore, quicktype } from "quicktype-core";

/** The source that quicktype makes of one schema, a text. */
export function quicktyped(name, schema, lang = "typescript") {
  return generated({ name, schema }, schema, lang);
}

/** The same of all schemas at `pointer` of a document: of a union quicktype would merge the members into one class. */
export function quicktypedEach(name, document, pointer, lang = "typescript") {
  return generated({ name, uris: [`${name}#${pointer}`] }, document, lang);
}

/** `document` is what quicktype gets for every URI. */
async function generated(source, document, lang) {
  const input = new JSONSchemaInput(new (class extends JSONSchemaStore {
    async fetch() {
      return JSON.parse(document);
    }
  })());
  await input.addSource(source);
  const inputData = new InputData();
  inputData.addInput(input);
  return (await quicktype({ inputData, lang })).lines.join("\n");
}
