// Mutations of a valid event. Most of them make it invalid, some do not.

import { TWICE, Written } from "./json.mjs";
import { long } from "./valid.mjs";

const STRANGE = [
  null,
  true,
  "",
  "0",
  [],
  {},
  [null],
  ["x"],
  { x: 1 },
  ...["0", "1", "-1", "1.5", "5.0", "1e3", "1e300", "-1e300", "2147483648", "9007199254740991", "9007199254740992"],
  ...["9007199254740993", "18446744073709551616", "0.1e1", "4.999999"],
  // Ajv reads a number beyond the largest double as infinite, which no schema allows, and a fraction whose nearest double is an
  // integer, such as 1e-400, as that integer. So none of these is here.
  ...["18446744073709551617", "-18446744073709551616", "-9223372036854775809", `1${"0".repeat(300)}`, "1E2", "100e-1", "-0", "1.10"],
].map((value) => (typeof value === "string" && /^-?[0-9]/.test(value) && value !== "0" ? new Written(value) : value));

// Ajv takes some references that RFC 3986 does not have, such as `//host:port` and `1:2`. So none is here.
const STRINGS = {
  id: ["", "a\tb", "a\u007fb", "a\u0085b", "\u0000"],
  source: ["", "two words", "%zz", "<x>", "ä", "a\\b", "\n", "http://[::1", "http://[::1]:7400/x", "?q#f", "[x]", "a#b#c"],
  time: ["yesterday", "2026-02-30T00:00:00Z", "2025-02-29T00:00:00Z", "2026-02-28", "2026-02-28T00:00:00", "2026-02-28 00:00:00Z",
    "2026-13-01T00:00:00Z", "2026-02-28T24:00:00Z", "2026-02-28T00:00:00+24:00", "2026-02-28T00:00:00.Z", "26-02-28T00:00:00Z",
    "2026-02-28T00:00:00Z\n", "٢٠٢٦-02-28T00:00:00Z", "2016-12-31T23:59:60Z", "2016-12-31T12:00:60Z", "2016-12-31t23:59:59.5z", "2017-01-01T00:59:60+01:00"],
  subject: ["", "a\nb"],
  dataschema: ["", "relative", "no scheme:", "https://a b", "http://[::1", "/a?b"],
  datacontenttype: ["text/plain", "application/xml", "application/jsonx", "", "application/+json", "application/json;ä",
    "application/json; charset=utf-16", "application/json;a=b;Charset=\"UTF-8\"", "application/json;;"],
  specversion: ["0.3", "1", "1.00", ""],
  own: ["bell\u0007", "two\nlines", "\u009f"],
  currency: ["eur", "EURO", "ZZZ", "", "EU", " EUR", "ＥＵＲ"],
  action: ["upsert", "Create", "create "],
  newStatus: ["lost", "Pending"],
  entity: ["loan"],
  parcelId: ["6e8bc430", "6E8BC430-9C3A-11D9-9669-0800200C9A66", "{6e8bc430-9c3a-11d9-9669-0800200c9a66}"],
  due: ["2026-02-30", "28.02.2026", "2026-2-28"],
};

const NAMES = ["extra", "__proto__", "constructor", "toString", "productid", "Reason", "id ", ""];
const ATTRIBUTE_NAMES = ["Upper", "with-dash", "with_underscore", "é", "dot.ted", "", "data_base64", "__proto__"];

/** Adds a member, also one with a special meaning in JavaScript such as `__proto__`. */
function put(object, name, value) {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

/** A random member of the data: its object or array, and its name or index. */
function member(dice, data) {
  let at = data;
  for (;;) {
    const names = Object.keys(at);
    if (names.length === 0) return [at, null];
    const name = dice.pick(names);
    const inner = at[name];
    const deeper = inner !== null && typeof inner === "object" && !(inner instanceof Written);
    if (!deeper || dice.chance(0.4)) return [at, name];
    at = inner;
  }
}

const IN_DATA = [
  function missing(dice, event) {
    const [at, name] = member(dice, event.data);
    if (Array.isArray(at)) at.splice(Number(name), 1);
    else if (name !== null) delete at[name];
  },
  function unknown(dice, event) {
    put(event.data, dice.pick(NAMES), dice.pick([1, "x", null]));
  },
  function strange(dice, event) {
    const [at, name] = member(dice, event.data);
    if (name !== null) at[name] = dice.pick(STRANGE);
  },
  function bound(dice, event) {
    const [at, name] = member(dice, event.data);
    if (typeof at[name] === "string") at[name] = long(dice, dice.pick([0, 1, 255, 256, 257, 1023, 1024, 1025]));
    else if (at[name] instanceof Written) at[name] = dice.pick(STRANGE);
  },
  function known(dice, event) {
    const names = Object.keys(event.data).filter((name) => Object.hasOwn(STRINGS, name));
    const name = names.length > 0 ? dice.pick(names) : "id";
    event.data[name] = dice.pick(STRINGS[name]);
  },
  function repeated(dice, event) {
    const [at, name] = member(dice, event.data);
    if (Array.isArray(at) && name !== null) at.push(at[name]);
  },
  function whole(dice, event) {
    event.data = dice.pick(STRANGE);
  },
];

const IN_ENVELOPE = [
  function attribute(dice, event) {
    const name = dice.pick(["id", "source", "time", "subject", "dataschema", "datacontenttype", "specversion", "own"]);
    event[name] = dice.pick(STRINGS[name]);
  },
  function strangeAttribute(dice, event) {
    const name = dice.pick(["id", "source", "time", "subject", "specversion", "datacontenttype", "causationid", "own", "type"]);
    event[name] = dice.pick(STRANGE);
  },
  function longAttribute(dice, event) {
    event[dice.pick(["id", "subject", "source", "causationid", "own"])] = "x".repeat(dice.pick([256, 257, 1024, 1025]));
  },
  function attributeName(dice, event) {
    put(event, dice.pick(ATTRIBUTE_NAMES), "x");
  },
  function missingAttribute(dice, event) {
    delete event[dice.pick(["type", "data"])];
  },
  function otherType(dice, event) {
    event.type = dice.pick(["no-such-type", "event", "Order-Status", "order-status", "data-update", "parcel", ""]);
  },
];

/** Marks a random member of the event, or of an object within it, to be written twice. */
export function repeat(dice, event) {
  const objects = [];
  const collect = (value) => {
    if (value === null || typeof value !== "object" || value instanceof Written) return;
    if (!Array.isArray(value) && Object.keys(value).length > 0) objects.push(value);
    Object.values(value).forEach(collect);
  };
  collect(event);
  const object = dice.pick(objects);
  object[TWICE] = dice.pick(Object.keys(object));
}

/** Applies one or more mutations; returns their names, and whether all of them were within `data`. */
export function mutate(dice, event) {
  const how = [];
  let within = true;
  do {
    const inData = event.data !== null && typeof event.data === "object" && !(event.data instanceof Written) && dice.chance(0.65);
    const mutation = dice.pick(inData ? IN_DATA : IN_ENVELOPE);
    within &&= inData;
    mutation(dice, event);
    how.push(mutation.name);
  } while (how.length < 2 && dice.chance(0.2));
  return { how: how.join(", "), within };
}
