// `"use cache"` in what is rendered for each request.

import { cacheLife, cacheTag } from "next/cache";
import { connection } from "next/server";

import { truth } from "../truth.mjs";

async function cached() {
  "use cache";
  cacheLife("max");
  cacheTag("use-cache");
  return truth("use-cache");
}

export async function GET() {
  await connection();
  return new Response(`version=${await cached()}`);
}
