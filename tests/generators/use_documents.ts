// Uses the types that were made of /asyncapi.json and /openapi.json. check.mjs compiles this beside them.

import type { components } from "./asyncapi.js";
import type * as asyncapi from "./asyncapi.quicktype.js";
import type { components as openapi, paths } from "./openapi.js";
import type * as quicktype from "./openapi.quicktype.js";

type Schemas = components["schemas"];
const subscribe: Schemas["SubscribeFrame"] = { type: "subscribe", sub: "s1", channel: "order-status", where: { newStatus: ["shipped"] }, since: "10m" };
const ping: Schemas["PingFrame"] = { type: "ping" };
const own: Schemas["PriceChangeEvent"] = { type: "price-change", data: { sku: "a", price: { amount: 5, currency: "EUR" }, parts: [] } };
declare const received: Schemas["WelcomeFrame"] | Schemas["EventFrame"] | Schemas["GapFrame"] | Schemas["ErrorFrame"];
if (received.type === "event") {
  const id: string | null | undefined = received.event.id;
  void id;
}
if (received.type === "error") {
  const code: Schemas["DaemonErrorCode"] = received.code;
  void code;
}
const gap: asyncapi.GapFrame = { type: "gap", channel: "order-status", from: "k3:12", position: "p9:1" };
const closed: Schemas["CloseCode"] = 4008;
// @ts-expect-error no such close code
const unknown: Schemas["CloseCode"] = 4007;
// @ts-expect-error the channel is missing
const incomplete: Schemas["SubscribeFrame"] = { type: "subscribe", sub: "s1" };

const page: paths["/v1/events"]["get"]["responses"]["200"]["content"]["application/json"] = { events: [], cursor: "c", gap: false };
const frame: openapi["schemas"]["ClientFrame"] = subscribe;
const welcome: quicktype.WelcomeFrame = { type: "welcome", protocol: 1, session: "s", node: "n", heartbeatMs: 25000 };
const problem: quicktype.Problem = { type: "urn:tidings:problem:not-found", title: "Not found", status: 404, code: "not-found", detail: "there is nothing at /x" };
void [subscribe, ping, own, gap, closed, unknown, incomplete, page, frame, welcome, problem];
