// Builds dist/ when npm installs or packs this folder (`npm run prepare`).
//
// Somebody who installs the client from a checkout has not installed what the build needs: npm does not do that for a folder.

import { execSync } from "node:child_process";
import { existsSync } from "node:fs";

const run = (command) => execSync(command, { cwd: new URL("..", import.meta.url), stdio: ["ignore", "inherit", "inherit"] });

if (!existsSync(new URL("../node_modules/tsdown", import.meta.url))) run("npm ci --ignore-scripts --no-audit --no-fund");
run("npm run build");
