// Follows a channel with the TypeScript client and resumes where it stopped, after a restart of this program too.
//
// `make build-client && node examples/node/subscribe.mjs`, with a daemon at `TIDINGS_URL` (http://127.0.0.1:7400 by
// default). Stop it, publish something, start it again: it prints what it missed. An argument names the file that keeps
// the position.

import { existsSync, readFileSync, writeFileSync } from "node:fs";

// In a project of your own: `import { connect } from "tidings-client"`.
import { connect } from "../../clients/typescript/dist/index.js";

const url = process.env.TIDINGS_URL ?? "http://127.0.0.1:7400";
const file = process.argv[2] ?? "inventory-change.position";

const bus = connect(url);
bus.onState((state) => console.error(state.status));
// The log no longer has these events. Load afresh what depends on them, then go on.
bus.onGap(({ channel, from, position }) => console.error(`gap in ${channel}: ${from} to ${position} is gone`));
process.once("SIGINT", () => bus.close());

// The position of the last event that this program finished. The first run begins with the oldest event of the log.
const since = existsSync(file) ? readFileSync(file, "utf8") : "start";
try {
  for await (const event of bus.events("inventory-change", { since })) {
    console.log(`${bus.positionOf(event)} ${event.data.productId}: ${event.data.newQuantity} left`);
    // Save the position after the work is done. A program that stops in between repeats one event and skips none.
    writeFileSync(file, bus.positionOf(event));
  }
} finally {
  bus.close();
}
