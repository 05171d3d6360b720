// Cleans up when the shop has ended, also when its start program was killed: ends the processes that it left, removes its folder.
//
// It is told of the processes by its parent, and knows that the parent has ended when the channel between them closes.

import { rmSync } from "node:fs";

const folder = process.argv[2];
let pids = [];

process.on("message", (message) => (pids = message.pids));
process.on("disconnect", () => {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended.
    }
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  process.exit();
});
