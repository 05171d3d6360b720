// Unit tests of the parts that need no connection: backoff, ids, positions, filters and the stream.

import { expect, test, vi } from "vitest";

import { delayBefore } from "../src/backoff.js";
import { matches } from "../src/filter.js";
import { newId } from "../src/id.js";
import { reaches } from "../src/position.js";
import { EventStream } from "../src/stream.js";
import { Timers } from "../src/timers.js";

test("the bound of the backoff doubles up to the maximum, and jitter picks any delay below it", () => {
  const backoff = { minMs: 100, maxMs: 1000 };
  const highest = [0, 1, 2, 3, 4, 50, 5000].map((attempt) => delayBefore(attempt, backoff, () => 1));
  expect(highest).toEqual([100, 200, 400, 800, 1000, 1000, 1000]);
  expect(delayBefore(3, backoff, () => 0)).toBe(0);
  expect(delayBefore(3, backoff, () => 0.25)).toBe(200);
});

test("a timer with a longer delay than a runtime can count does not fire at once", async () => {
  const timers = new Timers();
  const fired: string[] = [];
  const long = [2 ** 31, 2 ** 63, Infinity].map((delayMs) => timers.start(() => fired.push(String(delayMs)), delayMs));
  await new Promise<void>((resolve) => void timers.start(resolve, 20));
  long.forEach((timer) => timers.stop(timer));
  expect(fired).toEqual([]);
});

test("an id is a UUIDv7 with its time, and each is different", () => {
  const id = newId(Date.UTC(2026, 10, 21));
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(parseInt(id.replaceAll("-", "").slice(0, 12), 16)).toBe(Date.UTC(2026, 10, 21));
  expect(newId()).not.toBe(newId());
});

test("positions of one epoch are compared by number, and those of different epochs are not comparable", () => {
  const reached: [string, string][] = [["e:7", "e:7"], ["e:10", "e:9"], ["e:7", "e:0"], ["e:18446744073709551615", "e:18446744073709551614"]];
  for (const [later, earlier] of reached) expect(reaches(later, earlier), `${later} ${earlier}`).toBe(true);
  for (const [later, earlier] of reached.slice(1)) expect(reaches(earlier, later), `${earlier} ${later}`).toBe(false);
  for (const other of ["f:1", "ee:1", "e", "start", "2026-11-21T10:00:00Z", "10m", "e=e:1"]) {
    expect(reaches("e:5", other), other).toBe(false);
    expect(reaches(other, "e:5"), other).toBe(false);
  }
});

test("a field name with a dot takes precedence over a nested field, and inherited properties are ignored", () => {
  expect(matches({ "a.b": "x" }, { "a.b": "x", a: { b: "y" } })).toBe(true);
  expect(matches({ "a.b": "y" }, { "a.b": "x", a: { b: "y" } })).toBe(false);
  expect(matches({ "a.b.c": 1 }, { a: { "b.c": 1 } })).toBe(true);
  expect(matches({ "a.length": 1 }, { a: ["x"] })).toBe(false);
  expect(matches({ "constructor.name": "Object" }, {})).toBe(false);
  expect(matches({ a: null }, {})).toBe(false);
  expect(matches({}, null)).toBe(true);
});

test("a stream returns the pushed items in order, before and after next is called", async () => {
  const stream = new EventStream<number>(10, () => {});
  stream.push(1);
  stream.push(2);
  const taken = [stream.next(), stream.next(), stream.next(), stream.next()];
  stream.push(3);
  stream.end();
  stream.push(4);
  const ended = { value: undefined, done: true };
  expect(await Promise.all(taken)).toEqual([{ value: 1, done: false }, { value: 2, done: false }, { value: 3, done: false }, ended]);
  expect(await stream.next()).toEqual(ended);
});

test("a stream that overflows returns the buffered items, then the error, then ends", async () => {
  const onEnd = vi.fn();
  const stream = new EventStream<number>(2, onEnd);
  for (const item of [1, 2, 3, 4]) stream.push(item);
  expect(onEnd).toHaveBeenCalledOnce();
  const seen: number[] = [];
  const loop = async () => {
    for await (const item of stream) seen.push(item);
  };
  await expect(loop()).rejects.toMatchObject({ code: "buffer-overflow" });
  expect(seen).toEqual([1, 2]);
  expect(await stream.next()).toEqual({ value: undefined, done: true });
});

test("a failing stream rejects a pending next once", async () => {
  const stream = new EventStream<number>(2, () => {});
  const [first, second] = [stream.next(), stream.next()];
  stream.fail(new Error("broken"));
  await expect(first).rejects.toThrow("broken");
  expect(await second).toEqual({ value: undefined, done: true });
});

test("an aborted stream discards the buffered items", async () => {
  const stream = new EventStream<number>(2, () => {});
  stream.push(1);
  stream.abort(new Error("enough"));
  await expect(stream.next()).rejects.toThrow("enough");
});

test("leaving a loop ends its stream", async () => {
  const onEnd = vi.fn();
  const stream = new EventStream<number>(2, onEnd);
  stream.push(1);
  for await (const item of stream) {
    expect(item).toBe(1);
    break;
  }
  expect(onEnd).toHaveBeenCalledOnce();
});
