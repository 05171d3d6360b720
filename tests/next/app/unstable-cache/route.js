import { unstable_cache } from "next/cache";
import { connection } from "next/server";

import { truth } from "../truth.mjs";

const cached = unstable_cache(() => truth("unstable-cache"), ["unstable-cache"], { tags: ["unstable-cache"] });

export async function GET() {
  await connection();
  return new Response(`version=${await cached()}`);
}
