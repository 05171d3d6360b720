// Starts a real browser (Chromium), for a test.

import { existsSync } from "node:fs";

import { type Browser, chromium } from "playwright-core";

/** `CHROMIUM_BIN`, or that of Debian. */
export const CHROMIUM = process.env["CHROMIUM_BIN"] ?? "/usr/bin/chromium";

export async function launch(): Promise<Browser> {
  if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} does not exist: apt-get install chromium, or set CHROMIUM_BIN`);
  const args = ["--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  return chromium.launch({ executablePath: CHROMIUM, args });
}
