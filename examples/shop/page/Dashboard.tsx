// The numbers of the whole shop.

import type { Dashboard as Data } from "../shared/api.ts";
import { useData } from "./data.ts";
import { euros, Flash } from "./parts.tsx";

export function Dashboard() {
  const data = useData<Data>("/dashboard", ["dashboard"]);
  return (
    <div className="card">
      <h3>Dashboard</h3>
      <dl className="tiles">
        <Tile label="revenue" field="revenueCents" value={data?.revenueCents} text={euros} />
        <Tile label="orders" field="sold" value={data?.sold} />
        <Tile label="open orders" field="openOrders" value={data?.openOrders} />
        <Tile label="pieces in stock" field="inStock" value={data?.inStock} />
      </dl>
    </div>
  );
}

interface TileProps {
  readonly label: string;
  readonly field: keyof Data;
  readonly value: number | undefined;
  readonly text?: (value: number) => string;
}

function Tile({ label, field, value, text = String }: TileProps) {
  return (
    <div>
      <dt>{label}</dt>
      <dd>{value === undefined ? "–" : <Flash value={value}>{(value) => <b data-field={field} data-value={value}>{text(value)}</b>}</Flash>}</dd>
    </div>
  );
}
