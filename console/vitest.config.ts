import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // `make bench-console` measures; everything else is a test.
    include: process.env["CONSOLE_BENCH"] ? ["bench/**/*.bench.ts"] : ["test/**/*.test.ts"],
    // Tests wait for conditions; these bounds are only for when one never comes true.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 20_000, interval: 10 } },
    // One browser after another: a page that is not drawn in time is no mistake of the console.
    fileParallelism: false,
  },
});
