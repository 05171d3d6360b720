// A page with a parameter: its shell is rendered at build time, the rest when it is first asked for.

import { cacheLife, cacheTag } from "next/cache";
import { Suspense } from "react";

import { truth } from "../../truth.mjs";

async function cached(id) {
  "use cache";
  cacheLife("max");
  cacheTag("dynamic-page", `dynamic-page:${id}`);
  return truth("dynamic-page");
}

async function Product({ params }) {
  const { id } = await params;
  return <p>{`version=${await cached(id)}`}</p>;
}

export default function Page({ params }) {
  return (
    <Suspense fallback="…">
      <Product params={params} />
    </Suspense>
  );
}
