// How Vite serves the page.

import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  clearScreen: false,
  // The client is a link to a folder with packages of its own. There is one React on the page.
  resolve: { dedupe: ["react", "react-dom"] },
  // Found at the start, so that the first visit does not wait for them.
  optimizeDeps: { include: ["react", "react-dom/client", "react/jsx-dev-runtime"] },
  logLevel: "warn",
});
