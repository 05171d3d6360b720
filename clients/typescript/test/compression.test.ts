// Compression (permessage-deflate) between the real daemon and the package `ws`, which negotiates it by itself.

import { afterAll, beforeAll, expect, test } from "vitest";
import { type PerMessageDeflateOptions, WebSocket } from "ws";

import type { ServerFrame } from "../src/generated/protocol.js";
import { connect } from "../src/index.js";
import { Daemon } from "./daemon.js";

let daemon: Daemon;

beforeAll(async () => {
  daemon = await Daemon.start(["--compression"]);
});

afterAll(() => daemon.kill());

/** How many events the daemon has compressed so far. */
const compressed = () => daemon.metric("tidings_events_compressed_total");

/** Events from small to large. Some repeat text at a large distance, others hardly repeat any. */
const events = Array.from({ length: 300 }, (_, number) => {
  const words = Array.from({ length: (number % 30) ** 2 }, (_, word) => ((number + 1) * (word + 1) * 2654435761 % 2 ** 32).toString(36));
  const note = words.join(" ").repeat((number % 3) + 1);
  return { type: "inventory-change", data: { productId: `p-${number}`, oldQuantity: 1, newQuantity: number, reason: "sale" }, note };
});

/** Opens a socket that is subscribed, and records the events that it receives. */
async function subscribed(options: PerMessageDeflateOptions | boolean) {
  const socket = new WebSocket(`${daemon.url.replace("http", "ws")}/v1/ws`, { perMessageDeflate: options });
  const seen: { newQuantity: number; note: unknown }[] = [];
  await new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("message", (text) => {
      const frame = JSON.parse(String(text)) as ServerFrame;
      if (frame.type === "subscribed") resolve();
      if (frame.type === "event") {
        const { data, note } = frame.event as unknown as (typeof events)[0];
        seen.push({ newQuantity: data.newQuantity, note });
      }
    });
    // The longest allowed `sub`, so that `ws` compresses the frame.
    socket.on("open", () => {
      socket.send(JSON.stringify({ type: "subscribe", sub: "s".repeat(64), channel: "inventory-change" }));
    });
  });
  return { socket, seen };
}

test("for every negotiated extension, each event arrives as it was published", async () => {
  const sockets = [
    // With a threshold of 0, the client compresses its frames, too.
    { ...(await subscribed({ threshold: 0 })), extensions: "permessage-deflate" },
    { ...(await subscribed({ threshold: 0, clientMaxWindowBits: 9 })), extensions: "permessage-deflate" },
    { ...(await subscribed({ serverNoContextTakeover: true, clientNoContextTakeover: true })), extensions: "permessage-deflate" },
    // The client inflates with the window that it requested. A larger window of the daemon would break it.
    { ...(await subscribed({ serverMaxWindowBits: 12 })), extensions: "permessage-deflate" },
    { ...(await subscribed({ serverMaxWindowBits: 9 })), extensions: "" },
    { ...(await subscribed(false)), extensions: "" },
  ];
  const before = await compressed();
  for (let at = 0; at < events.length; at += 50) await daemon.publish(events.slice(at, at + 50));
  const published = events.map(({ data, note }) => ({ newQuantity: data.newQuantity, note }));
  for (const { socket, seen, extensions } of sockets) {
    await expect.poll(() => seen.length).toBe(events.length);
    expect(seen).toEqual(published);
    expect(socket.extensions).toBe(extensions);
    socket.close();
  }
  expect(await compressed() - before).toBe(events.length);
});

test("the client receives compressed events by default", async () => {
  const before = await compressed();
  const bus = connect(daemon.url);
  try {
    const stream = bus.events("order-status");
    await bus.ready();
    const customerId = "customer ".repeat(20);
    await bus.publish("order-status", { orderId: "o-1", newStatus: "shipped", customerId });
    expect((await stream.next()).value?.data).toEqual({ orderId: "o-1", newStatus: "shipped", customerId });
    expect(await compressed()).toBe(before + 1);
  } finally {
    bus.close();
  }
});
