// A small near cache on the bus, into which bugs can be planted: the checker has to catch each of them, and pass the one without.

import { eventually } from "../truth.mjs";

const dist = new URL("../../../clients/typescript/dist/", import.meta.url);
const { connect } = await import(new URL("index.js", dist));

const BOUND_MS = 500;

/** The bug, and the fault that shows it. */
export const PLANTED = {
  "none": "blip",
  /** Stores what was loaded, although it was invalidated meanwhile. */
  "no-fence": "slow-loads",
  /** Hears only what is published after it has reconnected. */
  "no-replay": "blip",
  /** Measures the age of its proof by the wall clock, which can be stepped. */
  "wall-clock": "clock",
  /** Goes on after a gap. */
  "gap-tolerated": "truncated",
};

export const about = (name) => ({ title: name, bus: "daemon", isOwn: true, boundMs: BOUND_MS });

export async function open({ bus: port, load }, name) {
  const bug = name.slice("planted:".length);
  const clock = () => (bug === "wall-clock" ? Date.now() : performance.now());
  const bus = connect(`http://127.0.0.1:${port}`);
  bus.onError(() => {});
  const entries = new Map();
  const invalidated = new Map();
  let [number, cleared, provenAt, isDeaf] = [0, 0, -Infinity, false];

  function clear() {
    entries.clear();
    cleared = ++number;
  }
  if (bug !== "no-replay" && bug !== "gap-tolerated") bus.onGap(clear);
  bus.on("cache-invalidate", ({ keys }) => {
    if (isDeaf) return;
    number++;
    for (const key of keys) (entries.delete(key), invalidated.set(key, number));
  });
  bus.onState(({ status }) => status === "reconnecting" && (isDeaf = bug === "no-replay"));
  async function sync() {
    const sentAt = clock();
    await bus.sync();
    provenAt = Math.max(provenAt, sentAt);
    isDeaf = false;
  }
  await eventually(sync);
  clear();

  return {
    async read(key) {
      const began = clock();
      const entry = entries.get(key);
      const isProven = () => began - Math.max(entry.loadedAt, provenAt) <= BOUND_MS - 5;
      if (entry) {
        if (began - provenAt > BOUND_MS / 2) {
          // Long, so that a slow machine does not load instead: that would hide a bug.
          const limit = new Promise((resolve) => setTimeout(resolve, 2_000));
          await (isProven() ? void sync().catch(() => {}) : Promise.race([sync().catch(() => {}), limit]));
        }
        if (isProven() && entries.get(key) === entry) return entry.version;
      }
      const [fence, loadedAt] = [number, clock()];
      const version = await load(key);
      const isCurrent = cleared <= fence && (invalidated.get(key) ?? 0) <= fence;
      if (isCurrent || bug === "no-fence") entries.set(key, { version, loadedAt });
      return version;
    },
    invalidate: (key) => bus.publish("cache-invalidate", { keys: [key] }),
  };
}
