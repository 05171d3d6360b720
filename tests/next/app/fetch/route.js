// A cached `fetch`.

import { connection } from "next/server";

import { urlOf } from "../truth.mjs";

export async function GET() {
  await connection();
  const response = await fetch(urlOf("fetch"), { cache: "force-cache", next: { tags: ["fetch"] } });
  return new Response(`version=${await response.text()}`);
}
