import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // The tests wait for servers and browsers more than they compute. vitest starts one worker less than there are cores.
    maxWorkers: 3,
    // Tests wait for conditions; these bounds are only for when one never comes true.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 20_000, interval: 10 } },
  },
});
