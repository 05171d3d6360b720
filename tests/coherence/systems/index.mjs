// The systems that are compared. Each is an adapter:
//
//   title       its name in the table
//   bus         what its instances are linked to: "daemon", "redis", or nothing
//   l2          whether the instances share a second level
//   isOwn       whether it has to keep its bound: else the run fails
//   boundMs     the bound that it states, if it does
//   open        a cache: `read(key)`, `invalidate(key)` after a commit, `mutate(key, write)` if there is such a thing, and
//               `block(ms)` if it is in a process of its own
//
// Only its own module is loaded by an instance, so that no library burdens another.

const MODULES = {
  "tidings": "tidings",
  "tidings-500ms": "tidings",
  "tidings-l2": "tidings",
  "tidings-rust": "rust",
  "tidings-rust-500ms": "rust",
  "tidings-rust-l2": "rust",
  "lru-pubsub": "lru-pubsub",
  "moka-pubsub": "rust",
  "bentocache": "bentocache",
  "cacheable": "cacheable",
  "node-redis": "node-redis",
  "ttl": "ttl",
};

export const SYSTEMS = Object.keys(MODULES);

/** The adapter of a system. */
export function system(name) {
  const module = name.startsWith("planted:") ? "planted" : MODULES[name];
  if (!module) throw new Error(`there is no system ${name}: one of ${SYSTEMS.join(", ")}`);
  const found = import(`./${module}.mjs`);
  return {
    about: async () => (await found).about(name),
    open: async (parts) => (await found).open(parts, name),
  };
}
