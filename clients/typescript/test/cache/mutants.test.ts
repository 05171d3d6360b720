// Planted bugs: each of them must be caught, by the cases and by the simulation.

import { describe, expect, test } from "vitest";

import { Clock } from "../../src/cache/clock.js";
import { History } from "../../src/cache/history.js";
import type { Replaced } from "../../src/cache/cache.js";
import { CASES, type Mutation, run } from "./runner.js";
import { simulate, type SimulatedBus } from "./simulation.js";
import { FakeSource, VirtualEnvironment } from "./virtual.js";

/** A load is never found invalidated. */
class NoFence extends History {
  override matchesSince(): boolean {
    return false;
  }

  override matchesAfter(): boolean {
    return false;
  }
}

interface Mutant {
  readonly name: string;
  readonly parts?: () => Replaced;
  /** Breaks the bus under the cache. */
  readonly bus?: (source: FakeSource | SimulatedBus) => void;
  readonly clock?: (environment: VirtualEnvironment) => Pick<Clock, "now">;
}

/** Only the wall clock decides how much time has passed. */
const wallClock = (environment: VirtualEnvironment) => ({ now: () => environment.wall });

const MUTANTS: readonly Mutant[] = [
  { name: "no fence", parts: () => ({ history: new NoFence() }) },
  { name: "wall clock only", clock: wallClock },
  {
    name: "one loss is tolerated",
    bus: (source) => {
      const start = source.start.bind(source);
      source.start = (handler, replay) => {
        let tolerated = 0;
        const lost = (position: string) => (tolerated++ === 0 ? undefined : handler.lost(position));
        return start({ invalidated: (event) => handler.invalidated(event), failed: (error) => handler.failed(error), lost }, replay);
      };
    },
  },
  {
    name: "no replay after a reconnect",
    bus: (source) => {
      // What was published while there was no connection does not arrive, and nothing says so.
      if ("skipsReplay" in source) source.skipsReplay = true;
      else {
        const invalidate = source.invalidate.bind(source);
        source.invalidate = (...rest) => (source.isConnected ? invalidate(...rest) : void source.head++);
      }
    },
  },
];

describe.each(MUTANTS)("$name", ({ parts, bus, clock }) => {
  test("is caught by a case", async () => {
    const mutation: Mutation = ({ source }) => (bus?.(source), parts?.() ?? {});
    const caught: string[] = [];
    for (const each of CASES) {
      await run(each, mutation, () => new VirtualEnvironment(clock)).catch(() => caught.push(each.name));
    }
    expect(caught).not.toEqual([]);
    console.log(caught.join("; "));
  });

  test("is caught by the simulation", { timeout: 120_000 }, async () => {
    let caught = 0;
    for (let seed = 1; seed <= 2_000 && caught === 0; seed++) {
      const { stale } = await simulate(seed, { ...(parts && { parts }), ...(bus && { bus }), ...(clock && { clock }) });
      if (stale.length > 0) caught = seed;
    }
    expect(caught).toBeGreaterThan(0);
    console.log(`caught by seed ${caught}`);
  });
});
