// Compares the daemon with Ajv, an independent JSON Schema validator. A document that the daemon accepts (202) must be
// valid against the schema that the daemon serves; a document that it refuses (422) must be invalid. A valid document with
// a member that occurs twice must be refused as malformed (400).
//
// Before that, Ajv's strict mode must have nothing to say about the built-in schemas.
//
//   node check.mjs [URL]     without a URL it starts target/debug/tidings (or TIDINGS_BIN)
//   SEED=7 node check.mjs    uses other random documents

import { readdirSync, readFileSync } from "node:fs";

import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

import { start } from "./daemon.mjs";
import { write } from "./json.mjs";
import { mutate, repeat } from "./mutations.mjs";
import { Dice } from "./random.mjs";
import { TYPES, event } from "./valid.mjs";

const VALID = 40;
const MUTATED = 160;
const REPEATED = 10;
const SHOWN = 20;

const SCHEMAS = new URL("../../schemas/", import.meta.url);

/** A validator that refuses a schema with unknown keywords or formats, and all else that Ajv's strict mode complains of. */
function validator(schema, options = {}) {
  const ajv = new Ajv2020({ strict: true, strictTypes: true, strictTuples: true, strictRequired: true, ...options });
  addFormats.default(ajv);
  ajv.addVocabulary(["x-tidings-key"]);
  return ajv.compile(schema);
}

/** Throws if Ajv's strict mode complains of a built-in schema. */
function checkStrictly() {
  const schemas = readdirSync(SCHEMAS).filter((file) => file.endsWith(".schema.json"));
  for (const file of schemas) validator(JSON.parse(readFileSync(new URL(file, SCHEMAS), "utf8")));
}

function documents(dice, types) {
  const all = [];
  for (const type of types) {
    for (let n = 0; n < VALID; n++) all.push({ type, how: "valid", within: true, valid: true, text: write(event(dice, type)) });
    for (let n = 0; n < REPEATED; n++) {
      const repeated = event(dice, type);
      repeat(dice, repeated);
      all.push({ type, how: "a member twice", within: true, repeated: true, text: write(repeated) });
    }
    for (let n = 0; n < MUTATED; n++) {
      const mutated = event(dice, type);
      const how = mutate(dice, mutated);
      all.push({ type, ...how, text: write(mutated) });
    }
  }
  return all;
}

async function get(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.json();
}

async function judge(url, document, whole, data) {
  const response = await fetch(`${url}/v1/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: document.text,
  });
  const answer = await response.text();
  const parsed = JSON.parse(document.text);
  const verdict = whole(parsed);
  const wrong = [];
  if (document.repeated) {
    if (response.status !== 400) wrong.push(`answered ${response.status}`);
    return { accepted: false, wrong, status: response.status, answer };
  }
  if (![202, 422].includes(response.status)) wrong.push(`answered ${response.status}`);
  if ((response.status === 202) !== verdict) wrong.push(`the event's schema says ${verdict}`);
  if (document.within && data[document.type](parsed.data) !== verdict) wrong.push(`the schema of data says ${!verdict}`);
  if (document.valid && !verdict) wrong.push("it was meant to be valid");
  return { accepted: response.status === 202, wrong, status: response.status, answer, errors: whole.errors };
}

async function check(url, seed) {
  // The own type has unions of types, which JSON Schema allows and Ajv's strict mode does not.
  const lenient = { allowUnionTypes: true };
  const whole = validator(await get(`${url}/v1/schemas/event`), lenient);
  const { schemas } = await get(`${url}/v1/schemas`);
  const types = Object.keys(TYPES).filter((type) => type in schemas);
  const data = Object.fromEntries(types.map((type) => [type, validator(schemas[type], lenient)]));
  const counts = { accepted: 0, refused: 0, different: 0 };
  for (const document of documents(new Dice(seed), types)) {
    const result = await judge(url, document, whole, data);
    counts[result.accepted ? "accepted" : "refused"]++;
    if (result.wrong.length === 0) continue;
    if (counts.different++ < SHOWN) {
      console.error(`\n${document.type}, ${document.how}: ${result.wrong.join("; ")}`);
      console.error(`  document: ${document.text.slice(0, 600)}`);
      console.error(`  daemon:   ${result.status} ${result.answer.slice(0, 600)}`);
      console.error(`  ajv:      ${JSON.stringify(result.errors)?.slice(0, 600)}`);
    }
  }
  return { types, counts };
}

checkStrictly();
const seed = Number(process.env.SEED ?? 1);
const daemon = process.argv[2] ? { url: process.argv[2].replace(/\/$/, ""), stop: async () => {} } : await start();
try {
  const { types, counts } = await check(daemon.url, seed);
  console.log(`${types.length} types, seed ${seed}: ${counts.accepted} accepted, ${counts.refused} refused, ${counts.different} judged differently`);
  const enough = counts.accepted >= 200 && counts.refused >= 200;
  if (!enough) console.error("too few accepted or refused documents for a meaningful result");
  process.exitCode = counts.different === 0 && enough ? 0 : 1;
} finally {
  await daemon.stop();
}
