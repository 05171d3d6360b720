// Traffic that comes by itself, and what can be broken.

import { useEffect, useState } from "react";

import type { Product } from "../shared/api.ts";
import { change, get, type Name, newId } from "./instance.ts";

const NAMES: readonly Name[] = ["a", "b"];
const BREAKABLE = ["shop-a", "shop-b", "tidings"];

const pick = <Item,>(items: readonly Item[]): Item => items[Math.floor(Math.random() * items.length)]!;

export function Controls() {
  const [hasVisitors, setHasVisitors] = useState(true);
  const [hasCustomers, setHasCustomers] = useState(false);
  useEvery(hasVisitors ? 100 : undefined, visit);
  useEvery(hasCustomers ? 400 : undefined, shop);
  return (
    <div className="controls">
      <label><input type="checkbox" checked={hasVisitors} onChange={(event) => setHasVisitors(event.target.checked)} /> visitors look</label>
      <label><input type="checkbox" checked={hasCustomers} onChange={(event) => setHasCustomers(event.target.checked)} /> customers buy</label>
      {BREAKABLE.map((name) => (
        <button key={name} className="break" onClick={() => void fetch(`/break/${name}`, { method: "POST" })}
          title="Ends the process at once, as a crash does. It is started again after 2 s.">
          kill {name}
        </button>
      ))}
    </div>
  );
}

function useEvery(everyMs: number | undefined, call: () => Promise<void>): void {
  useEffect(() => {
    if (everyMs === undefined) return;
    // An instance that is down is no reason to stop.
    const timer = setInterval(() => void call().catch(() => {}), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, call]);
}

/** A visitor of each instance looks at the products, or at one of them. Nobody waits for it. */
async function visit(): Promise<void> {
  await Promise.all(NAMES.map(async (name) => {
    const products = await get<Product[]>(name, "/products");
    await get(name, "/product", { id: pick(products).id });
  }));
}

/** A customer buys something somewhere. Where it is sold out, a clerk brings more. */
async function shop(): Promise<void> {
  const name = pick(NAMES);
  const { id: productId } = pick(await get<Product[]>(name, "/products"));
  const customerId = `customer-${Math.ceil(Math.random() * 999)}`;
  const refusal = await change(name, { id: newId("order"), do: "buy", productId, customerId });
  if (refusal !== undefined) await change(name, { id: newId("restock"), do: "restock", productId, pieces: 10 });
}
