// A page that is rendered at build time, and again when it is out of date.

import { cacheLife, cacheTag } from "next/cache";

import { truth } from "../truth.mjs";

async function cached() {
  "use cache";
  cacheLife("max");
  cacheTag("page");
  return truth("page");
}

export default async function Page() {
  return <p>{`version=${await cached()}`}</p>;
}
