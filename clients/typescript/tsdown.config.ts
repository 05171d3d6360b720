import { defineConfig } from "tsdown";

const PROVENANCE = "// Built by `npm run build` from src/ of the tidings client. Do not edit.";

// One build for each module system. `IS_COMMONJS` tells the code which of them it is in.
export default defineConfig(
  (["esm", "cjs"] as const).map((format) => ({
    entry: {
      index: "src/index.ts",
      cache: "src/cache/index.ts",
      next: "src/next/index.ts",
      query: "src/query/index.ts",
      react: "src/react/index.ts",
      persist: "src/persist/index.ts",
      schema: "src/schema/index.ts",
    },
    format,
    define: { IS_COMMONJS: String(format === "cjs") },
    platform: "neutral" as const,
    target: "es2022",
    dts: true,
    banner: { js: PROVENANCE, dts: PROVENANCE },
    // Only the first build may remove the files of the last one.
    clean: format === "esm",
  })),
);
