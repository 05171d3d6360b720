// The cases that the caches of both languages pass: tests/cache/cases.json.

import { expect, test } from "vitest";

import { CASES, run } from "./runner.js";

test.each(CASES)("$name", async (each) => {
  await run(each);
});

test("each case has its own name", () => {
  expect(new Set(CASES.map(({ name }) => name)).size).toBe(CASES.length);
});
