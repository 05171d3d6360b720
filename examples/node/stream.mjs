// Reads Server-Sent Events without any library, and resumes after a lost connection.
//
// `node examples/node/stream.mjs`, with a daemon at `TIDINGS_URL` (http://127.0.0.1:7400 by default). Channels are
// arguments: `node examples/node/stream.mjs order-status`. In a browser, `EventSource` does most of this.

import { setTimeout as sleep } from "node:timers/promises";

const url = process.env.TIDINGS_URL ?? "http://127.0.0.1:7400";
const channels = process.argv.slice(2);
const query = new URLSearchParams((channels.length ? channels : ["inventory-change"]).map((name) => ["channel", name]));

/** The id of the last message: one cursor for all channels of the stream. */
let lastEventId;
/** The pause before the next connection, where the daemon names one: it does so before it stops. */
let retryMs;

/** Yields the messages of one response until it ends: `{ type, data }`, where comments are heartbeats. */
async function* messages(body) {
  let text = "";
  let [id, type, data] = [undefined, "message", []];
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    // The last line may be incomplete: it waits for the next chunk.
    const lines = text.split("\n");
    text = lines.pop();
    for (const line of lines) {
      const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (line === "") {
        // An empty line ends a message. Its id counts even if it has no data.
        if (id !== undefined) lastEventId = id;
        if (data.length) yield { type, data: data.join("\n") };
        [id, type, data] = [undefined, "message", []];
      } else if (name === "id") id = value;
      else if (name === "event") type = value;
      else if (name === "data") data.push(value);
      else if (name === "retry") retryMs = Number(value);
    }
  }
}

for (;;) {
  retryMs = undefined;
  try {
    const headers = lastEventId === undefined ? {} : { "last-event-id": lastEventId };
    const response = await fetch(`${url}/v1/stream?${query}`, { headers });
    if (response.ok) {
      console.error("streaming");
      for await (const { type, data } of messages(response.body)) {
        if (type === "gap") console.error(`gap: ${data}`);
        // `cursor` only moves the id.
        else if (type !== "cursor") console.log(`${type} ${data}`);
      }
    } else {
      const problem = await response.json();
      console.error(`${problem.code}: ${problem.detail}`);
      // A 4xx would be refused again.
      if (response.status < 500) process.exit(1);
      retryMs = 1_000 * Number(response.headers.get("retry-after") ?? 1);
    }
  } catch (error) {
    console.error(`disconnected: ${error.cause?.message ?? error.message}`);
  }
  // A random pause keeps many readers from returning in the same moment.
  await sleep((retryMs ?? 1_000) + Math.random() * 1_000);
}
