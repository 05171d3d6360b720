// npm's clients of Server-Sent Events follow a channel and resume without loss, as they are, from Node.
// Chromium's EventSource is in eventsource.test.ts, and Python's clients are in tests/it/sse_clients.rs.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSourcePolyfill } from "event-source-polyfill";
import { EventSource } from "eventsource";
import { test } from "vitest";

import { Daemon } from "./daemon.js";
import { Proxy } from "./proxy.js";

const channel = "inventory-change";
const sale = (product: string) => ({
  type: channel,
  data: { productId: product, oldQuantity: 1, newQuantity: 0, reason: "sale" },
});

/** What a client hands out, and how many streams it has opened. */
interface Follower {
  messages: { event: string; data: string }[];
  opened: number;
  stop(): void;
}

/** The part of EventSource that the tests use. */
interface Source {
  addEventListener(type: string, listener: (event: { type: string; data?: string }) => void): void;
  close(): void;
}

function listening(source: Source): Follower {
  const follower: Follower = { messages: [], opened: 0, stop: () => source.close() };
  source.addEventListener("open", () => follower.opened++);
  for (const type of [channel, "message", "gap", "cursor", "closed"]) {
    source.addEventListener(type, ({ type, data }) => follower.messages.push({ event: type, data: data ?? "" }));
  }
  return follower;
}

const clients: Record<string, (url: string) => Follower> = {
  eventsource: (url) => listening(new EventSource(url) as unknown as Source),
  "event-source-polyfill": (url) => listening(new EventSourcePolyfill(url) as unknown as Source),
  "@microsoft/fetch-event-source": (url) => {
    const controller = new AbortController();
    const follower: Follower = { messages: [], opened: 0, stop: () => controller.abort() };
    // It is made for browsers, and uses these objects of theirs.
    Object.assign(globalThis, { window: globalThis, document: { removeEventListener() {} } });
    void fetchEventSource(url, {
      signal: controller.signal,
      openWhenHidden: true,
      async onopen() {
        follower.opened++;
      },
      onmessage: ({ event, data }) => void follower.messages.push({ event, data }),
      // Without this, it takes the end of a stream for good.
      onclose() {
        throw new Error("the stream has ended");
      },
    });
    return follower;
  },
};

const products = ({ messages }: Follower) =>
  messages.filter(({ event }) => event === channel).map(({ data }) => JSON.parse(data).data.productId as string);

/** Waits until the daemon has sent some heartbeats on a stream of its own. */
async function heartbeats(url: string): Promise<void> {
  const response = await fetch(`${url}/v1/stream?channel=${channel}`);
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.split(": heartbeat").length > 3) return;
  }
}

test.concurrent.for(Object.entries(clients))("%s resumes without loss", async ([_name, follow], { expect }) => {
  const folder = await mkdtemp(join(tmpdir(), "tidings-sse-"));
  const flags = ["--broker", `file:${folder}`, "--heartbeat", "50ms", "--drain", "1s"];
  let daemon = await Daemon.start(flags);
  const proxy = await Proxy.before(daemon.port);
  const follower = follow(`${proxy.url}/v1/stream?channel=${channel}&channel=order-status`);
  try {
    const has = (expected: string[]) => expect.poll(() => products(follower)).toEqual(expected);
    await expect.poll(() => daemon.subscribers(channel)).toBe(1);
    await expect.poll(() => follower.messages).toEqual([{ event: "cursor", data: '{"type":"cursor"}' }]);

    // The connection breaks before the first event.
    proxy.close();
    await expect.poll(() => daemon.subscribers(channel)).toBe(0);
    await daemon.publish([sale("a"), sale("b")]);
    proxy.mend();
    await has(["a", "b"]);
    await heartbeats(daemon.url);

    // It breaks after some events.
    const opened = follower.opened;
    proxy.cut();
    await daemon.publish([sale("c"), sale("d")]);
    await has(["a", "b", "c", "d"]);
    expect(follower.opened).toBeGreaterThan(opened);

    // The daemon drains, and starts again.
    daemon.terminate();
    await daemon.ended();
    daemon = await Daemon.start(flags, daemon.port);
    await daemon.publish([sale("e")]);
    await has(["a", "b", "c", "d", "e"]);
    expect(follower.messages.filter(({ event, data }) => data === "" || event === "gap")).toEqual([]);
  } finally {
    follower.stop();
    await proxy.stop();
    await daemon.kill();
    await rm(folder, { recursive: true });
  }
});
