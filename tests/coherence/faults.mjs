// The faults. Each gets the world and breaks it while the writer writes. The last write of a fault comes before its end, so that
// what was missed is not written again.
//
//   title    its name in the table
//   needs    what a system must have, else the fault is left out: "link" (a connection), "daemon", "l2"
//   run      breaks it; `outage(ms)` lasts so long, and until enough was written
//   settings of the world: `daemonFlags`, `clocks` (the wall clock of instances 0 and 1 can be stepped)

import { KEYS, sleep } from "./truth.mjs";

/** Longer than the bound of every system that states one. */
const OUTAGE_MS = 4_000;
const RECONNECT_LIMIT_MS = 10_000;

/**
 * Cuts the link of instance 0 while `change` happens. The instance reads nothing until its link stands again: what it read
 * meanwhile it would have loaded, and so it would know by chance what it missed.
 */
async function away({ instances, link }, change) {
  await instances[0].ask("pause");
  link(0).close();
  await change();
  link(0).mend();
  await link(0).used(RECONNECT_LIMIT_MS);
  await instances[0].ask("resume");
}

export const FAULTS = {
  "none": {
    title: "none",
    run: ({ outage }) => outage(OUTAGE_MS),
  },
  "slow-loads": {
    title: "none, and loads take 300 ms",
    async run({ instances, writer, outage }) {
      await Promise.all(instances.map((instance) => instance.ask("slow", { ms: 300 })));
      await outage(OUTAGE_MS);
      await writer.stop();
      // The second burst overtakes the loads that the first one causes.
      await writer.burst();
      await sleep(150);
      await writer.burst();
    },
  },
  "cut": {
    title: "link cut for 4 s, then reconnected",
    needs: "link",
    async run({ link, writer, outage }) {
      link(0).close();
      await outage(OUTAGE_MS);
      await writer.stop();
      link(0).mend();
    },
  },
  "blip": {
    title: "link cut while every key is written once",
    needs: "link",
    async run(world) {
      await world.writer.stop();
      await away(world, () => world.writer.burst());
    },
  },
  "blackhole": {
    title: "one direction of the link silent, no FIN",
    needs: "link",
    async run({ link, outage }) {
      link(0).deafen();
      await outage(OUTAGE_MS);
    },
  },
  "partition": {
    title: "node cut from its broker, its clients connected",
    needs: "daemon",
    async run({ nodeLink, writer, outage }) {
      nodeLink.freeze();
      await outage(OUTAGE_MS + 1_000);
      await writer.stop();
      nodeLink.mend();
    },
  },
  "stop": {
    title: "instance stopped for 10 s",
    async run({ instances, writer, short, outage }) {
      instances[0].signal("SIGSTOP");
      await outage(short ? 2_000 : 10_000);
      await writer.stop();
      instances[0].signal("SIGCONT");
      await sleep(200);
    },
  },
  "blocked": {
    title: "event loop blocked for 3 s",
    async run({ instances, writer }) {
      const blocked = instances[0].ask("block", { ms: 3_000 });
      await sleep(2_800);
      await writer.stop();
      await blocked;
    },
  },
  "truncated": {
    title: "link cut, and the log truncated meanwhile",
    needs: "link",
    daemonFlags: ["--log-max-events", "50"],
    async run(world) {
      await away(world, async () => {
        await world.writer.burst(2);
        await world.writer.stop();
      });
    },
  },
  "flushed": {
    title: "FLUSHALL while the link is cut",
    needs: "link",
    async run(world) {
      await world.writer.stop();
      await away(world, async () => {
        await world.flush();
        await world.writer.burst();
      });
    },
  },
  "l2-down": {
    title: "L2 down for 4 s",
    needs: "l2",
    async run({ l2Links, writer, outage }) {
      for (const each of l2Links) each.close();
      await outage(OUTAGE_MS);
      await writer.stop();
      for (const each of l2Links) each.mend();
    },
  },
  "l2-slow": {
    title: "L2 slow: 400 ms each way",
    needs: "l2",
    async run({ l2Links, writer, outage }) {
      for (const each of l2Links) each.delay(400);
      await outage(OUTAGE_MS);
      await writer.stop();
      for (const each of l2Links) each.mend();
    },
  },
  "l2-poisoned": {
    title: "L2 written by an instance that was paused past its lock",
    needs: "l2",
    async run({ instances, writer }) {
      await instances[0].ask("slow", { ms: 700 });
      // Every key is invalidated, so that instance 0 is loading when it is stopped.
      await writer.burst();
      await sleep(300);
      instances[0].signal("SIGSTOP");
      await writer.burst();
      await sleep(3_000);
      await writer.stop();
      instances[0].signal("SIGCONT");
      await sleep(1_500);
    },
  },
  "killed": {
    title: "writer killed between COMMIT and publish",
    async run({ writer, startWriter }) {
      const doomed = await startWriter();
      await sleep(500);
      await writer.stop();
      doomed.tell("die", { keys: KEYS.slice(0, 10) });
      await doomed.ended;
      await sleep(3_000);
    },
  },
  "clock": {
    title: "wall clocks stepped by an hour, the link cut",
    needs: "link",
    clocks: true,
    async run({ link, stepClock, writer, outage }) {
      stepClock(1, 3_600);
      await sleep(500);
      link(0).close();
      stepClock(0, -3_600);
      await outage(OUTAGE_MS);
      await writer.stop();
      link(0).mend();
      await sleep(300);
      stepClock(0, 3_600);
    },
  },
};
