// Elapsed time is at least what either clock of the machine says, whatever is done to the other one.

import { expect, test } from "vitest";

import { Clock, systemEnvironment } from "../../src/cache/clock.js";
import { seeded } from "./simulation.js";

/** By how much a reading can be too early, in milliseconds. */
const ERROR_MS = systemEnvironment().clockErrorMs;

/** The two clocks of a machine that a test controls. As the real one, the wall clock shows whole milliseconds. */
class Machine {
  mono = 100.25;
  wall = 1_700_000_000_000.5;
  readonly clock = new Clock({ monotonic: () => this.mono, wall: () => Math.floor(this.wall) });

  /** Both clocks go on. */
  pass(ms: number): void {
    this.mono += ms;
    this.wall += ms;
  }

  /** The elapsed time that the clock shows for what `change` does. */
  elapsed(change: () => void): number {
    const from = this.clock.now();
    change();
    return this.clock.now() - from;
  }
}

test("a wall clock that stands still hides no age, however often it is read", () => {
  const machine = new Machine();
  for (let reading = 0; reading < 40; reading++) {
    expect(machine.elapsed(() => (machine.mono += 3_000))).toBeGreaterThanOrEqual(2_999);
    for (let more = 0; more < reading; more++) machine.clock.now();
  }
});

test("a wall clock that is set back by just what has passed hides no age", () => {
  const machine = new Machine();
  for (let reading = 0; reading < 5; reading++) machine.clock.now();
  const hour = 3_600_000;
  expect(machine.elapsed(() => (machine.pass(hour), (machine.wall -= hour)))).toBeGreaterThanOrEqual(hour - 1);
});

test("a machine that sleeps after its wall clock was set back looks as much older as it slept", () => {
  for (const back of [0, 5, 19, 21, 3_600_000]) {
    const machine = new Machine();
    machine.clock.now();
    machine.wall -= back;
    expect(machine.elapsed(() => (machine.wall += 30))).toBeGreaterThanOrEqual(30 - ERROR_MS);
  }
});

test("the whole milliseconds of the wall clock make no time pass faster", () => {
  const machine = new Machine();
  const elapsed = machine.elapsed(() => {
    for (let reading = 0; reading < 10_000; reading++) machine.elapsed(() => machine.pass(0.37));
  });
  expect(elapsed).toBeLessThanOrEqual(3_700 + ERROR_MS);
});

test("no reading is earlier than either clock says, in random histories", () => {
  const random = seeded(Number(process.env["TIDINGS_SEED"] ?? 1));
  const pick = (items: readonly number[]) => items[Math.floor(random() * items.length)]!;
  for (let history = 0; history < 200; history++) {
    const machine = new Machine();
    const readings: { mono: number; wall: number; now: number }[] = [];
    for (let step = 0; step < 60; step++) {
      machine.pass(pick([0, 0.1, 0.9, 1, 7, 300]));
      if (random() < 0.3) machine.mono += pick([0.5, 12, 2_000]);
      if (random() < 0.3) machine.wall += pick([-3_600_000, -25, -15, -1, 1, 15, 25, 2_500, 3_600_000]);
      const now = machine.clock.now();
      for (const before of readings) {
        const least = Math.max(machine.mono - before.mono, machine.wall - before.wall) - ERROR_MS;
        if (now - before.now < least) throw new Error(`history ${history}, step ${step}: ${now - before.now} ms, at least ${least} ms have passed`);
      }
      readings.push({ mono: machine.mono, wall: machine.wall, now });
    }
  }
});
