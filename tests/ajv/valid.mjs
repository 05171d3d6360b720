// Random valid events of every type, with and without their optional members.

import { Written } from "./json.mjs";

const TEXTS = ["x", "a b", "ÄÖÜ", "日本語", "👩‍👩‍👧", "\u0000\n\t", "\"\\/", "</script>", "null"];
const INTEGERS = ["0", "-1", "42", "5.0", "1e3", "-0", "9007199254740991", "-9007199254740991", "50e-1", "-0.0"];
const CURRENCIES = ["EUR", "USD", "JPY", "CHF", "KWD", "XXX", "ZWG"];
const STATUSES = ["pending", "confirmed", "processing", "shipped", "delivered", "completed", "cancelled", "returned", "refunded"];

/** A string of `length` characters, each of one, two, three or four bytes in UTF-8. */
export const long = (dice, length) => dice.pick(["x", "é", "€", "😀"]).repeat(length);

const id = (dice) => (dice.chance(0.1) ? long(dice, 256) : dice.pick(TEXTS));
const text = (dice) => (dice.chance(0.1) ? long(dice, 1024) : dice.chance(0.1) ? "" : dice.pick(TEXTS));
const integer = (dice) => new Written(dice.pick(INTEGERS));
const milliseconds = (dice) => new Written(dice.pick(["0", "1e3", "5.0", "9007199254740991"]));
const some = (dice, least, most, make) => Array.from({ length: least + dice.below(most - least + 1) }, () => make(dice));

/** Makes an object. A member `?name` is optional. */
function made(dice, members) {
  const object = {};
  for (const [name, make] of Object.entries(members)) {
    if (!name.startsWith("?")) object[name] = make(dice);
    else if (dice.chance(0.5)) object[name.slice(1)] = make(dice);
  }
  return object;
}

const address = (dice) =>
  dice.chance(0.5)
    ? made(dice, { street: () => "Bahnhofstrasse 1", country: () => "CH", zip: () => "8001", "?mail": () => "a@b.example" })
    : made(dice, { street: text1, country: (dice) => dice.pick(["DE", "AT"]), "?zip": () => "any", "?more": () => [1] });
const text1 = (dice) => dice.pick(TEXTS);

export const TYPES = {
  "cache-invalidate": (dice) => {
    const data = made(dice, {
      "?tags": (dice) => some(dice, 0, 3, id),
      "?keys": (dice) => some(dice, 0, 3, id),
      "?prefixes": (dice) => some(dice, 0, 3, id),
      "?reason": text,
      "?staleForMs": milliseconds,
      "?holdMs": (dice) => new Written(dice.pick(["0", "5.0", "6e4", "60000"])),
    });
    return { ...data, [dice.pick(["tags", "keys", "prefixes"])]: some(dice, 1, 3, id) };
  },
  "data-update": (dice) =>
    made(dice, {
      resource: id,
      id,
      action: (dice) => dice.pick(["create", "update", "delete"]),
      "?version": integer,
    }),
  "inventory-change": (dice) =>
    made(dice, { productId: id, "?variantId": id, oldQuantity: integer, newQuantity: integer, reason: text }),
  "order-status": (dice) =>
    made(dice, {
      orderId: id,
      "?oldStatus": (dice) => dice.pick(STATUSES),
      newStatus: (dice) => dice.pick(STATUSES),
      "?customerId": id,
    }),
  "finance-change": (dice) =>
    made(dice, {
      entity: (dice) => dice.pick(["payment", "refund", "invoice", "payout", "adjustment"]),
      id,
      amountMinor: integer,
      currency: (dice) => dice.pick(CURRENCIES),
      "?status": text,
    }),
  parcel: (dice) => {
    const data = made(dice, {
      parcelId: () => "6e8bc430-9c3a-11d9-9669-0800200c9a66",
      to: address,
      "?from": (dice) => (dice.chance(0.5) ? null : address(dice)),
      stops: (dice) => ["ZRH", "MUC", "VIE", "BER"].slice(0, 1 + dice.below(4)),
      "?weight": (dice) => new Written(dice.pick(["0.001", "31.5", "1e1", "5"])),
      "?labels": () => ({ fragile: true, note: "x" }),
      "?state": (dice) => dice.pick(["lost", 11, -1]),
    });
    return "weight" in data && dice.chance(0.5) ? { ...data, due: "2026-02-28" } : data;
  },
};

const ATTRIBUTES = {
  "?specversion": () => "1.0",
  "?id": (dice) => (dice.chance(0.2) ? long(dice, 256) : `id ${dice.below(1e9)}`),
  "?source": (dice) => dice.pick(["/shop", "urn:x:y", "https://shop.example/a?b=%20#c", "//h", "shop"]),
  "?time": (dice) => dice.pick(["2026-02-28T23:59:59Z", "2024-02-29T00:00:00.123456789+14:00", "1990-12-31t00:00:00z"]),
  "?subject": (dice) => dice.pick(["s", "anything, ä"]),
  "?dataschema": () => "https://shop.example/sale.json",
  "?datacontenttype": (dice) => dice.pick(["application/json", "application/json; charset=utf-8", "application/x.y+json"]),
  "?causationid": () => "cause",
  "?traceparent": () => "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  "?flag": (dice) => dice.chance(0.5),
  "?count": (dice) => new Written(dice.pick(["0", "-7", "2147483647", "-2147483648", "5.0"])),
  "?own": (dice) => dice.pick([null, "", "text"]),
};

/** A valid event of this type. */
export function event(dice, type) {
  return { type, ...(dice.chance(0.5) ? made(dice, ATTRIBUTES) : {}), data: TYPES[type](dice) };
}
