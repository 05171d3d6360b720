// With `TIDINGS_URL`, the caches are those of the adapter; without, those of Next.js itself.

import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const handler = `${here}cache-handler.mjs`;

const adapter = {
  cacheHandler: handler,
  cacheHandlers: { default: handler, remote: handler },
  cacheMaxMemorySize: 0,
};

export default {
  cacheComponents: true,
  distDir: process.env.DIST ?? ".next",
  turbopack: { root: here },
  ...(process.env.TIDINGS_URL && adapter),
};
