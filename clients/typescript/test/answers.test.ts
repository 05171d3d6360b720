// The types of answers, beside what the daemon answers.

import { afterAll, beforeAll, expect, test } from "vitest";

import type { ChannelInfo } from "../src/index.js";
import { Authority } from "./authority.js";
import { Daemon } from "./daemon.js";

let daemon: Daemon;
beforeAll(async () => {
  daemon = await Daemon.start();
});
afterAll(() => daemon?.kill());

/** The kind of each member. The compiler refuses one that the type does not have, and the lack of one that it has. */
const KINDS = {
  type: "string",
  schema: "string",
  position: "string",
  retained: "number",
  subscribers: "number",
  ratePerSecond: "number",
  published: "number",
  duplicates: "number",
  refused: "number",
} as const satisfies { [Name in keyof Required<ChannelInfo>]: Required<ChannelInfo>[Name] extends string ? "string" : "number" };

const kinds = (channel: object) => Object.fromEntries(Object.entries(channel).map(([name, value]) => [name, typeof value]));

async function channels(url: string, token?: string): Promise<ChannelInfo[]> {
  const response = await fetch(`${url}/v1/channels`, { headers: token ? { authorization: `Bearer ${token}` } : {} });
  return ((await response.json()) as { channels: ChannelInfo[] }).channels;
}

test("a channel has the members of ChannelInfo, and counts what was published", async () => {
  const event = { type: "order-status", id: "a", data: { orderId: "o-1", newStatus: "shipped" } };
  await daemon.publish([event, event, { ...event, id: "b" }]);
  await expect(daemon.publish([{ type: "order-status", data: {} }])).rejects.toThrow("invalid-event");
  const listed = await channels(daemon.url);
  for (const channel of listed) expect(kinds(channel)).toEqual(KINDS);
  const orders = listed.find(({ type }) => type === "order-status");
  expect(orders).toMatchObject({ retained: 2, subscribers: 0, published: 2, duplicates: 1, refused: 1 });
});

test("who sees a part of the events gets a channel without counts", async () => {
  const authority = await Authority.start();
  try {
    const token = await authority.token("u1", "order-status:customerId=u1", "1h");
    const { type, schema, position } = KINDS;
    expect((await channels(authority.daemon.url, token)).map(kinds)).toEqual([{ type, schema, position }]);
  } finally {
    await authority.stop();
  }
});
